import Foundation
import Testing

@testable import CulvertDaemon

/// Against a real datagram socket, as the service manager's.
@Suite(.timeLimit(.minutes(5))) struct ServiceNotifierTests {
    private final class Manager {
        let descriptor: CInt

        init(at path: String) throws {
            descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
            var limit = timeval(tv_sec: 60, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            #expect(try UnixSocket.withAddress(path, abstract: true) { bind(descriptor, $0, $1) } == 0)
        }

        deinit { close(descriptor) }

        func receive() throws -> [String] {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            try #require(count > 0)
            return String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
        }
    }

    @Test(arguments: [false, true])
    func statesArrive(abstract: Bool) throws {
        let directory = try TemporaryDirectory()
        let path = abstract ? "@culvert-test-\(UUID().uuidString)" : directory("notify.sock")
        let manager = try Manager(at: path)
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": path])

        notifier.send(.ready, status: "relay hosta")
        #expect(try manager.receive() == ["READY=1", "STATUS=relay hosta"])

        notifier.send(.reloading)
        let reloading = try manager.receive()
        #expect(reloading.first == "RELOADING=1")
        let microseconds = reloading.last?.split(separator: "=").last.flatMap { Double($0) } ?? 0
        #expect(reloading.last?.hasPrefix("MONOTONIC_USEC=") == true)
        #expect(abs(microseconds / 1e6 - ProcessInfo.processInfo.systemUptime) < 60)

        notifier.send(.stopping(within: .seconds(35)))
        #expect(try manager.receive() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000"])

        notifier.send(.alive)
        #expect(try manager.receive() == ["WATCHDOG=1"])
    }

    @Test func nobodyListeningIsNoProblem() {
        ServiceNotifier(environment: [:]).send(.ready)
        ServiceNotifier(environment: ["NOTIFY_SOCKET": "/nonexistent/notify"]).send(.ready)
        ServiceNotifier(environment: ["NOTIFY_SOCKET": "vsock:2:1234"]).send(.ready)
    }

    @Test(
        arguments: [
            ([:], nil),
            (["WATCHDOG_USEC": "30000000"], .seconds(15)),
            (["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"], nil),
            (["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "\(getpid())"], .seconds(15)),
            (["WATCHDOG_USEC": "0"], nil),
            (["WATCHDOG_USEC": "soon"], nil),
        ] as [([String: String], Duration?)])
    func watchdogIsFedTwiceInItsTime(environment: [String: String], interval: Duration?) {
        #expect(ServiceNotifier(environment: environment).watchdogInterval == interval)
    }
}
