import CulvertIO
import Foundation
import Testing

@Suite struct DescriptorTests {
    @Test func carriesBytesInPieces() throws {
        let pair = try Descriptor.pair()
        let near = pair.first, far = pair.second
        var head = Array("head ".utf8), body = Array("and body".utf8)
        let sent = head.withUnsafeMutableBytes { head in
            body.withUnsafeMutableBytes { body in
                let pieces = [head, body].map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
                return pieces.withUnsafeBufferPointer { near.write($0) }
            }
        }
        #expect(sent == .bytes(13))

        var first = [UInt8](repeating: 0, count: 4), second = [UInt8](repeating: 0, count: 100)
        let received = first.withUnsafeMutableBytes { first in
            second.withUnsafeMutableBytes { second in
                let pieces = [first, second].map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
                return pieces.withUnsafeBufferPointer { far.read(into: $0) }
            }
        }
        #expect(received == .bytes(13))
        #expect(String(decoding: first + second[..<9], as: UTF8.self) == "head and body")
        #expect(far.readText() == ("", .wouldBlock))
    }

    @Test func takesMorePiecesThanTheKernelDoes() throws {
        let pair = try Descriptor.pair()
        var byte: UInt8 = 7
        let sent = withUnsafeMutableBytes(of: &byte) { byte in
            let pieces = [iovec](repeating: iovec(iov_base: byte.baseAddress, iov_len: 1), count: 1500)
            return pieces.withUnsafeBufferPointer { pair.first.write($0) }
        }
        #expect(sent == .bytes(1024))
        _ = consume pair
    }

    @Test func halfClosesEachDirectionAlone() throws {
        let pair = try Descriptor.pair()
        let near = pair.first, far = pair.second
        #expect(near.write("question") == .bytes(8))
        near.shutdownWrite()
        try #expect(far.readToEnd() == ("question", .endOfStream))
        #expect(far.write("answer") == .bytes(6))
        far.shutdownWrite()
        try #expect(near.readToEnd() == ("answer", .endOfStream))
    }

    @Test func saysWouldBlockWhenThePeerDoesNotRead() throws {
        let pair = try Descriptor.pair()
        let block = [UInt8](repeating: 1, count: 1 << 20)
        var last = Descriptor.Transfer.bytes(0), calls = 0
        while case .bytes = last, calls < 1000 {
            last = block.withUnsafeBytes { pair.first.write($0) }
            calls += 1
        }
        #expect(last == .wouldBlock)
        _ = consume pair
    }

    /// In a process of its own, where SIGPIPE has its default action: to kill.
    @Test func survivesWritingToAPeerThatIsGone() async {
        await #expect(processExitsWith: .success) {
            signal(SIGPIPE, SIG_DFL)
            let pair = try Descriptor.pair()
            let near = pair.first, far = pair.second
            _ = consume far
            #expect(near.write("x") == .failed(EPIPE))
            var byte: UInt8 = 1
            let result = withUnsafeMutableBytes(of: &byte) { byte in
                let pieces = [iovec(iov_base: byte.baseAddress, iov_len: 1)]
                return pieces.withUnsafeBufferPointer { near.write($0) }
            }
            #expect(result == .failed(EPIPE))
        }
    }

    /// In a process of its own, whose limit of descriptors it sets.
    @Test func pairsAndPipesLeaveDescriptorsToOthers() async {
        await #expect(processExitsWith: .success) {
            func fill(_ make: () throws(IOError) -> Void) -> CInt {
                while true {
                    do throws(IOError) { try make() } catch { return error.errno }
                }
            }
            var limit = rlimit(rlim_cur: 128, rlim_max: 128)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            let kept = fill { () throws(IOError) in
                let pair = try Descriptor.pair()
                _ = (pair.first.release(), pair.second.release())
            }
            #expect(kept == EMFILE)
            #expect(fill { () throws(IOError) in _ = try Splice() } == EMFILE)
            let last = Array(sequence(state: ()) { _ in dup(0) }.prefix { $0 >= 0 })
            #expect(last.count >= 128 / 8 - 1)
        }
    }

    /// In a process of its own that has no privileges: there a user's pipes get less and less once they have a certain sum.
    @Test func aPipeIsLargeOrNone() async {
        await #expect(processExitsWith: .success) {
            if getuid() == 0 { try #require(setuid(65_534) == 0) }
            let most = try String(contentsOfFile: "/proc/sys/fs/pipe-user-pages-soft", encoding: .utf8)
            // Without a bound there is nothing to run into.
            guard let pages = Int(most.trimmingCharacters(in: .whitespacesAndNewlines)), pages > 0 else { return }
            var pipes: [Int] = []
            func fill(_ left: Int) -> CInt {
                do throws(IOError) {
                    let splice = try Splice()
                    let errno = left == 0 ? 0 : fill(left - 1)
                    pipes.append(splice.capacity)
                    return errno
                } catch {
                    return error.errno
                }
            }
            #expect(fill(pages / 256 + 16) == ENOBUFS)
            #expect(pipes.allSatisfy { $0 >= Int(Splice.leastCapacity) })
        }
    }

    /// A peer that takes nothing answers all the same.
    @Test func aPeerWithoutRoomIsNotSilent() throws {
        let pair = try TCPPair(), filler = [UInt8](repeating: 0, count: 1 << 20)
        while case .bytes = filler.withUnsafeBytes({ pair.near.write($0) }) {}
        try eventually("all that has room was acknowledged") {
            let answers = pair.near.answers
            return answers?.areDue == false && answers!.acknowledged > 0
        }
        let local = try Descriptor.pair(), none = local.first.answers
        #expect(none == nil)
    }

    @Test func silenceIsToldFromRest() {
        let second: UInt64 = 1_000_000_000, limit = 5 * second
        func verdicts(_ looks: [(now: UInt64, Answers)]) -> [Bool] {
            var watch = SilenceWatch()
            return looks.map { watch.isOver($0.1, now: $0.now * second, limit: limit) }
        }
        func answers(_ acknowledged: UInt64, silence: UInt64, areDue: Bool = true) -> Answers {
            Answers(acknowledged: acknowledged, silence: silence * second, areDue: areDue)
        }
        // Nothing comes any more.
        #expect(verdicts((0...6).map { ($0, answers(7, silence: $0)) }) == [false, false, false, false, false, true, true])
        // No bytes are acknowledged, but the peer answers.
        #expect(!verdicts((0...60).map { ($0, answers(7, silence: 1)) }).contains(true))
        // It takes some now and then.
        #expect(!verdicts((0...60).map { ($0, answers($0 / 4, silence: 60)) }).contains(true))
        // Nothing was sent for long, and something just now.
        #expect(!verdicts((0...60).map { ($0, answers(7, silence: $0, areDue: $0 % 7 == 0)) }).contains(true))
    }

    @Test func closesOnceAndOnlyWhatItOwns() throws {
        let pair = try Descriptor.pair()
        let far = pair.second
        let raw = pair.first.release()
        #expect(far.readText() == ("", .wouldBlock))
        do { _ = Descriptor(adopting: raw) }
        try #expect(far.readToEnd() == ("", .endOfStream))
    }

    @Test func trapsOnAnEmptyBuffer() async {
        await #expect(processExitsWith: .failure) {
            let pair = try Descriptor.pair()
            _ = pair.first.read(into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
        }
    }

    @Test func resetsATCPConnection() throws {
        let pair = try TCPPair()
        let near = pair.near, far = pair.far
        near.resetOnClose(true)
        _ = consume near
        try #expect(far.readToEnd() == ("", .failed(ECONNRESET)))
    }

    @Test func tunesALane() throws {
        let pair = try TCPPair()
        pair.near.tuneForLane(notSentLowWater: 131_072, keepalive: .seconds(15))
        #expect(pair.near.option(CInt(IPPROTO_TCP), TCP_NODELAY) == 1)
        #expect(pair.near.option(CInt(IPPROTO_TCP), TCP_NOTSENT_LOWAT) == 131_072)
        #expect(pair.near.option(CInt(IPPROTO_TCP), TCP_USER_TIMEOUT) == 15_000)
        #expect(pair.near.option(SOL_SOCKET, SO_KEEPALIVE) == 1)
        let idle = pair.near.option(CInt(IPPROTO_TCP), TCP_KEEPIDLE)
        let probes = pair.near.option(CInt(IPPROTO_TCP), TCP_KEEPINTVL) * pair.near.option(CInt(IPPROTO_TCP), TCP_KEEPCNT)
        #expect(idle + probes == 15)
        _ = consume pair
    }

    @Test func tunesALeg() throws {
        let local = try Descriptor.pair()
        local.first.tuneForLeg(bufferSize: 100_000)
        // The kernel doubles it for its own overhead (socket(7)).
        #expect(local.first.option(SOL_SOCKET, SO_SNDBUF) == 200_000)
        _ = consume local

        let pair = try TCPPair()
        let size = pair.near.option(SOL_SOCKET, SO_SNDBUF)
        pair.near.tuneForLeg(bufferSize: nil)
        #expect(pair.near.option(CInt(IPPROTO_TCP), TCP_NODELAY) == 1)
        #expect(pair.near.option(SOL_SOCKET, SO_SNDBUF) == size)
        _ = consume pair
    }

    @Test func countsTheTimeThatBytesAreUnderWay() throws {
        let lost = try TCPPair(), arriving = try TCPPair()
        lost.far.dropEverything()
        #expect(lost.near.linkBusy == 0)
        #expect(lost.near.write("x") == .bytes(1) && arriving.near.write("x") == .bytes(1))
        try eventually("it has arrived") { arriving.near.unacknowledged == 0 }
        let (before, quiet) = (lost.near.linkBusy, arriving.near.linkBusy)
        // The kernel counts its ticks, of 10 ms at most.
        try eventually("time has passed") { lost.near.linkBusy >= before + 30_000_000 }
        #expect(lost.near.unacknowledged == 1)
        #expect(arriving.near.linkBusy == quiet)
    }

    @Test func countsNoLinkOfALocalSocket() throws {
        let pair = try Descriptor.pair()
        #expect(pair.first.write("x") == .bytes(1))
        #expect(pair.first.linkBusy == 0)
        _ = consume pair
    }

    @Test func namesItsEnds() throws {
        let local = try Descriptor.pair()
        #expect(local.first.remoteAddress == "unix client pid \(getpid())")
        #expect(local.first.localAddress == "unix client pid \(getpid())")
        _ = consume local

        let pair = try TCPPair()
        #expect(pair.near.localAddress == pair.far.remoteAddress)
        #expect(pair.near.remoteAddress.wholeMatch(of: /127\.0\.0\.1:[0-9]+/) != nil)
        _ = consume pair

        let lonely = Descriptor(adopting: socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        #expect(lonely.remoteAddress == "unconnected")
    }
}

extension Descriptor {
    /// Bytes that a TCP connection has sent and its other end's host has not confirmed: SIOCOUTQ of tcp(7).
    fileprivate var unacknowledged: CInt {
        var count: CInt = -1
        return ioctl(rawValue, UInt(TIOCOUTQ), &count) == 0 ? count : -errno
    }

    /// Whatever comes for this socket is lost, as on a broken link: a filter of one instruction, to keep 0 bytes of it.
    fileprivate borrowing func dropEverything() {
        // struct sock_filter and sock_fprog of linux/filter.h, which Glibc's module lacks.
        var instruction = (code: UInt16(6), jumps: UInt16(0), count: UInt32(0))
        withUnsafePointer(to: &instruction) { instruction in
            var program = (length: UInt16(1), first: UnsafeRawPointer(instruction))
            let size = socklen_t(MemoryLayout.size(ofValue: program))
            precondition(setsockopt(rawValue, SOL_SOCKET, SO_ATTACH_FILTER, &program, size) == 0, "no filter: errno \(errno)")
        }
    }

    borrowing func option(_ level: CInt, _ option: CInt) -> CInt {
        var value: CInt = -1
        var length = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(rawValue, level, option, &value, &length) == 0 ? value : -errno
    }
}
