import CLinux
import Foundation
import Testing

@testable import CulvertIO

/// The faults that other tests rely on really happen, and none but those. Plans are for a whole process, so each test has
/// one of its own.
@Suite struct FaultTests {
    /// Reads and writes on a loop until a given number of bytes has come and gone, or an error.
    final class Worker: EventHandler {
        private let socket: Descriptor
        private let loop: EventLoop
        private var unsent: [UInt8]
        private var heard: [UInt8] = []
        private let expected: Int
        private let done: Inbox<Outcome>
        private var registration: Registration?

        struct Outcome: Sendable {
            var heard: [UInt8]
            var error: CInt?
        }

        init(_ socket: consuming Descriptor, _ loop: EventLoop, says: [UInt8], hears: Int, _ done: Inbox<Outcome>) throws {
            self.loop = loop
            unsent = says
            expected = hears
            self.done = done
            let raw = socket.rawValue
            self.socket = socket
            registration = try loop.register(raw, self)
        }

        func ready(_ events: ReadyEvents) {
            while !unsent.isEmpty {
                let result = unsent.withUnsafeBytes { socket.write($0) }
                guard case .bytes(let count) = result else {
                    if case .failed(let error) = result { finish(error) }
                    break
                }
                unsent.removeFirst(count)
            }
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let result = buffer.withUnsafeMutableBytes { socket.read(into: $0) }
                guard case .bytes(let count) = result else {
                    if case .failed(let error) = result { finish(error) }
                    break
                }
                heard += buffer[..<count]
            }
            if heard.count == expected, unsent.isEmpty { finish(nil) }
        }

        private func finish(_ error: CInt?) {
            guard let registration = registration.take() else { return }
            loop.deregister(registration)
            done.put(Outcome(heard: heard, error: error))
        }
    }

    enum Kind: CaseIterable {
        case tcp, local

        func pair() throws -> Descriptor.Pair {
            switch self {
            case .local: return try Descriptor.pair()
            case .tcp:
                let pair = try TCPPair()
                return Descriptor.Pair(first: pair.near, second: pair.far)
            }
        }
    }

    private static let message = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 11) }

    /// Both ends say the message to each other.
    private static func converse(_ kind: Kind, _ plan: clinux_fault_plan) throws -> ([Worker.Outcome], clinux_fault_counts) {
        try withLoop { loop in
            let pair = try kind.pair(), done = Inbox<Worker.Outcome>()
            clinux_begin_faults(plan)
            let (near, far) = (pair.first.release(), pair.second.release())
            for raw in [near, far] {
                try loop.sync {
                    _ = try Worker(Descriptor(adopting: raw), loop, says: message, hears: message.count, done)
                }
            }
            let outcomes = try done.take(count: 2)
            return (outcomes, clinux_end_faults())
        }
    }

    private static func plan(seed: UInt64 = 1, _ rates: clinux_fault_rates) -> clinux_fault_plan {
        clinux_fault_plan(seed: seed, longest_wait: 3, tcp: rates, local: rates)
    }

    /// Otherwise this waits for ever: descriptors are edge-triggered.
    @Test func whoIsToldToWaitIsWokenAndNothingIsLost() async {
        await #expect(processExitsWith: .success) {
            for kind in Kind.allCases {
                let rates = clinux_fault_rates(partial: 20_000, unready: 30_000, reset: 0, corrupt: 0)
                let (outcomes, counts) = try Self.converse(kind, Self.plan(rates))
                #expect(outcomes.allSatisfy { $0.heard == Self.message && $0.error == nil })
                #expect(counts.partial > 0 && counts.unready > 0 && counts.reset == 0 && counts.corrupt == 0)
            }
        }
    }

    @Test func aConnectionThatIsResetEndsAtBothEnds() async {
        await #expect(processExitsWith: .success) {
            for kind in Kind.allCases {
                let rates = clinux_fault_rates(partial: 50_000, unready: 0, reset: 1000, corrupt: 0)
                let (outcomes, counts) = try Self.converse(kind, Self.plan(rates))
                #expect(outcomes.contains { $0.error == ECONNRESET })
                #expect(outcomes.allSatisfy { $0.error != nil && Self.message.starts(with: $0.heard) })
                #expect(counts.reset > 0)
            }
        }
    }

    @Test func onlyTCPIsCorrupted() async {
        await #expect(processExitsWith: .success) {
            let rates = clinux_fault_rates(partial: 0, unready: 0, reset: 0, corrupt: 10_000)
            for kind in Kind.allCases {
                let (outcomes, counts) = try Self.converse(kind, Self.plan(rates))
                #expect(outcomes.allSatisfy { $0.error == nil && $0.heard.count == Self.message.count })
                #expect(outcomes.contains { $0.heard != Self.message } == (kind == .tcp))
                #expect((counts.corrupt > 0) == (kind == .tcp))
            }
        }
    }

    @Test func withoutAPlanNothingHappens() async {
        await #expect(processExitsWith: .success) {
            let everything = clinux_fault_rates(partial: 0, unready: 0, reset: .max, corrupt: 0)
            clinux_begin_faults(Self.plan(everything))
            _ = clinux_end_faults()
            try withLoop { loop in
                let pair = try Descriptor.pair(), done = Inbox<Worker.Outcome>()
                let raw = pair.first.release()
                try loop.sync { _ = try Worker(Descriptor(adopting: raw), loop, says: [], hears: 5, done) }
                #expect(pair.second.write("hello") == .bytes(5))
                #expect(try done.take().heard == Array("hello".utf8))
            }
        }
    }
}
