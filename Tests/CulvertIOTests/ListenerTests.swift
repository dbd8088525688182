import CulvertIO
import Foundation
import Testing

@Suite struct ListenerTests {
    /// A listener on its loop, and what it accepted.
    struct Scene {
        let loop: EventLoop
        let accepted = Inbox<Transferred<Descriptor>>()

        func listen(on endpoint: Endpoint, unix: UnixSocketOptions = UnixSocketOptions()) throws -> LoopBound<Listener> {
            try loop.sync { [loop, accepted] in
                let listener = try Listener(endpoint: endpoint, unix: unix, loop: loop) { accepted.put(Transferred($0)) }
                return LoopBound(listener, loop: loop)
            }
        }

        func close(_ listener: LoopBound<Listener>) throws {
            try loop.sync { listener.value.close() }
        }

        func local(_ listener: LoopBound<Listener>) throws -> Endpoint {
            try loop.sync { listener.value.local }
        }

        /// The error of an attempt to listen there.
        func refusal(on endpoint: Endpoint, unix: UnixSocketOptions = UnixSocketOptions()) -> IOError? {
            #expect(throws: IOError.self) { try listen(on: endpoint, unix: unix) }
        }
    }

    private func withScene(_ body: (Scene) throws -> Void) throws {
        try withLoop { loop in try body(Scene(loop: loop)) }
    }

    private func status(_ path: String) throws -> stat {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw IOError(errno: errno, operation: "stat \(path)") }
        return status
    }

    private func exists(_ path: String) -> Bool {
        (try? status(path)) != nil
    }

    // MARK: TCP

    @Test(arguments: ["127.0.0.1", "::1"]) func tellsThePortTheKernelChose(host: String) throws {
        try withScene { scene in
            let listener = try scene.listen(on: .tcp(host: host, port: 0))
            guard case .tcp(host, let port) = try scene.local(listener) else { Issue.record("another host"); return }
            #expect(port != 0)
            try scene.close(listener)
        }
    }

    @Test func listensOnOnePortInBothFamilies() throws {
        try withScene { scene in
            let first = try scene.listen(on: .tcp(host: "0.0.0.0", port: 0))
            guard case .tcp(_, let port) = try scene.local(first) else { return }
            let second = try scene.listen(on: .tcp(host: "::", port: port))
            try #expect(scene.local(second) == .tcp(host: "::", port: port))
            try scene.close(first)
            try scene.close(second)
        }
    }

    @Test func namesThePortThatIsTaken() throws {
        try withScene { scene in
            let listener = try scene.listen(on: .tcp(host: "127.0.0.1", port: 0))
            let local = try scene.local(listener)
            #expect(scene.refusal(on: local)?.description == "listen on \(local): Address already in use")
            try scene.close(listener)
            // Free at once, and again.
            try scene.close(try scene.listen(on: local))
        }
    }

    @Test func namesTheHostThatCannotBeFound() throws {
        try withScene { scene in
            let error = scene.refusal(on: .tcp(host: "no name", port: 0))
            #expect(error?.description.hasPrefix("listen on tcp:no name:0: look up 'no name': ") == true)
        }
    }

    // MARK: UNIX

    @Test func setsModeOwnerAndGroup() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                // Root may give files away; others can only name themselves.
                let isRoot = getuid() == 0
                let (user, group) = isRoot ? ("daemon", "1") : ("\(getuid())", "\(getgid())")
                let options = UnixSocketOptions(mode: 0o640, owner: user, group: group)
                let listener = try scene.listen(on: .unix(path: path), unix: options)
                let found = try status(path)
                #expect(found.st_mode == S_IFSOCK | 0o640)
                #expect(found.st_uid == (isRoot ? getpwnam("daemon").pointee.pw_uid : getuid()))
                #expect(found.st_gid == (isRoot ? 1 : getgid()))
                try #expect(scene.local(listener) == .unix(path: path))
                try scene.close(listener)
                #expect(!exists(path))
            }
        }
    }

    @Test func leavesNothingBehindWhenItCannotSetTheOwner() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                let error = scene.refusal(on: .unix(path: path), unix: UnixSocketOptions(owner: "no-such-user"))
                #expect(error?.description == "listen on unix:\(path): this host has no user 'no-such-user'")
                #expect(!exists(path))
            }
        }
    }

    @Test func replacesTheFileOfAProcessThatIsGone() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                do { _ = try UnixListener(path: path, backlog: 1) }
                #expect(exists(path))
                // Where another test starts a process, the old socket may live on in it for a moment.
                var listener: LoopBound<Listener>?
                try eventually("the old socket is gone") {
                    listener = try? scene.listen(on: .unix(path: path))
                    return listener != nil
                }
                let client = try UnixListener.connect(to: path)
                #expect(client.write("x") == .bytes(1))
                try #expect(scene.accepted.take().take().readText().text == "x")
                try scene.close(#require(listener))
            }
        }
    }

    @Test func leavesALiveSocketAlone() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                let owner = try scene.listen(on: .unix(path: path))
                let before = try status(path)
                let error = scene.refusal(on: .unix(path: path))
                #expect(error?.name == "EADDRINUSE")
                #expect(error?.description.contains(path) == true)
                try #expect(status(path).st_ino == before.st_ino)
                try scene.loop.sync {}
                #expect(scene.accepted.isEmpty, "the attempt reached the program that listens there")
                let client = try UnixListener.connect(to: path)
                _ = try scene.accepted.take()
                _ = consume client
                try scene.close(owner)
            }
        }
    }

    @Test func leavesABoundSocketAloneThatDoesNotListenYet() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                let owner = try UnixListener(path: path, backlog: nil)
                #expect(scene.refusal(on: .unix(path: path))?.name == "EADDRINUSE")
                #expect(exists(path))
                _ = consume owner
            }
        }
    }

    @Test func leavesOtherFilesAlone() throws {
        try withDirectory { directory in
            try withScene { scene in
                let file = directory + "/file", link = directory + "/link", target = directory + "/target"
                try "precious".write(toFile: file, atomically: false, encoding: .utf8)
                try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
                for path in [file, link, directory] {
                    let error = scene.refusal(on: .unix(path: path))
                    #expect(error?.name == "EADDRINUSE")
                    #expect(error?.description.contains("no socket") == true)
                }
                try #expect(String(contentsOfFile: file, encoding: .utf8) == "precious")
                try #expect(FileManager.default.destinationOfSymbolicLink(atPath: link) == target)
            }
        }
    }

    @Test func namesADirectoryThatIsMissing() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/missing/s"
                let error = scene.refusal(on: .unix(path: path))
                #expect(error?.name == "ENOENT")
                #expect(error?.description == "listen on unix:\(path): its directory does not exist; create it")
            }
        }
    }

    @Test(arguments: ["/" + String(repeating: "x", count: 107), "", "/tmp/culvert\0x"])
    func refusesPathsTheKernelWouldNotTake(path: String) throws {
        try withScene { scene in
            let error = scene.refusal(on: .unix(path: path))
            #expect(error?.name == (path.count > 107 ? "ENAMETOOLONG" : "EINVAL"))
        }
    }

    @Test func takesTheLongestPath() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/" + String(repeating: "x", count: Endpoint.longestUnixPath - directory.utf8.count - 1)
                let listener = try scene.listen(on: .unix(path: path))
                let client = try UnixListener.connect(to: path)
                #expect(client.remoteAddress == path)
                let accepted = try scene.accepted.take().take()
                #expect(accepted.localAddress == path)
                #expect(accepted.remoteAddress == "unix client pid \(getpid())")
                try scene.close(listener)
            }
        }
    }

    @Test func removesOnlyItsOwnFile() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                let listener = try scene.listen(on: .unix(path: path))
                unlink(path)
                try "another's".write(toFile: path, atomically: false, encoding: .utf8)
                try scene.close(listener)
                #expect(exists(path))
            }
        }
    }

    @Test func removesItsFileWhenTheLoopEnds() throws {
        try withDirectory { directory in
            let path = directory + "/s"
            try withScene { scene in
                _ = try scene.listen(on: .unix(path: path))
                #expect(exists(path))
            }
            #expect(!exists(path))
        }
    }

    // MARK: Accepting

    @Test func acceptsMoreConnectionsThanOneBatch() throws {
        try withDirectory { directory in
            try withScene { scene in
                let path = directory + "/s"
                let listener = try scene.listen(on: .unix(path: path))
                var clients: [Transferred<Descriptor>] = []
                try scene.loop.hold {
                    for _ in 0..<200 { clients.append(Transferred(try UnixListener.connect(to: path))) }
                }
                for box in try scene.accepted.take(count: 200) {
                    let socket = box.take()
                    #expect(fcntl(socket.rawValue, F_GETFL) & O_NONBLOCK != 0)
                    #expect(fcntl(socket.rawValue, F_GETFD) & FD_CLOEXEC != 0)
                }
                try scene.close(listener)
            }
        }
    }

    @Test func mayBeClosedWhileItAccepts() throws {
        try withDirectory { directory in
            try withLoop { loop in
                final class Once { var listener: Listener? }
                let path = directory + "/s"
                let accepted = Inbox<Bool>()
                try loop.sync {
                    let once = Once()
                    once.listener = try Listener(endpoint: .unix(path: path), loop: loop) { _ in
                        once.listener?.close()
                        once.listener = nil
                        accepted.put(true)
                    }
                }
                var clients: [Transferred<Descriptor>] = []
                try loop.hold {
                    for _ in 0..<2 { clients.append(Transferred(try UnixListener.connect(to: path))) }
                }
                _ = try accepted.take()
                // The first was accepted and the second died with the queue.
                for client in clients { try #expect(client.take().readToEnd().text == "") }
                #expect(accepted.isEmpty)
                #expect(!exists(path))
            }
        }
    }

    /// In a process of its own, which may run out of descriptors without harm to others.
    @Test func acceptsOnceThereAreDescriptorsAgain() async {
        await #expect(processExitsWith: .success) {
            try withDirectory { directory in
                let loop = try EventLoop(name: "test")
                loop.start()
                let scene = Scene(loop: loop)
                let path = directory + "/s"
                let listener = try scene.listen(on: .unix(path: path))
                let client = Descriptor(adopting: socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))

                var last = [dup(client.rawValue)]
                // Also on failure, as removing the directory takes one.
                defer { last.forEach { close($0) } }
                var limit = rlimit(rlim_cur: rlim_t(last[0] + 8), rlim_max: rlim_t(last[0] + 8))
                setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
                while case let raw = dup(client.rawValue), raw >= 0 { last.append(raw) }
                try UnixListener.connect(client.rawValue, to: path)

                // Handed over after the connection, so the loop has tried to accept it when this ran.
                try loop.sync {}
                #expect(scene.accepted.isEmpty)

                last.forEach { close($0) }
                last = []
                _ = try scene.accepted.take()
                try scene.close(listener)
                loop.stop()
            }
        }
    }

    @Test func leavesDescriptorsToOthers() async {
        await #expect(processExitsWith: .success) {
            try withDirectory { directory in
                let loop = try EventLoop(name: "test")
                loop.start()
                let scene = Scene(loop: loop)
                let path = directory + "/s"
                let listener = try scene.listen(on: .unix(path: path))
                let clients = (0..<60).map { _ in socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0) }
                var limit = rlimit(rlim_cur: 96, rlim_max: 96)
                setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
                for client in clients { try UnixListener.connect(client, to: path) }

                // Handed over after the connections, so the loop has accepted what it will when these ran.
                for _ in 0..<3 { try loop.sync {} }
                let last = Array(sequence(state: ()) { _ in dup(clients[0]) }.prefix { $0 >= 0 })
                #expect(last.count >= 96 / 8 - 1)

                // Each that is closed makes room for the next.
                last.forEach { close($0) }
                for _ in clients { _ = try scene.accepted.take() }
                try scene.close(listener)
                loop.stop()
            }
        }
    }
}
