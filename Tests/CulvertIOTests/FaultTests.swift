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

    private static func plan(
        seed: UInt64 = 1, _ rates: clinux_fault_rates = clinux_fault_rates(), accept: UInt16 = 0, connect: UInt16 = 0
    ) -> clinux_fault_plan {
        clinux_fault_plan(seed: seed, longest_wait: 3, tcp: rates, local: rates, accept: accept, connect: connect)
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

    // MARK: Splicing

    /// Moves all that one socket says to another.
    final class Mover: EventHandler {
        private let source: Descriptor
        private let sink: Descriptor
        private let loop: EventLoop
        private var splice: Splice
        private var registrations: [Registration] = []

        init(from source: consuming Descriptor, to sink: consuming Descriptor, _ loop: EventLoop) throws {
            splice = try Splice()
            self.loop = loop
            let raw = [source.rawValue, sink.rawValue]
            self.source = source
            self.sink = sink
            registrations = try raw.map { try loop.register($0, self) }
        }

        func ready(_ events: ReadyEvents) {
            guard splice.move(from: source, to: sink, limit: .max) == .ended else { return }
            for registration in exchange(&registrations, with: []) { loop.deregister(registration) }
        }
    }

    /// Corruption is for what is read; there may be no cipher around what is spliced.
    @Test func whatIsSplicedArrivesWholeAndRight() async {
        await #expect(processExitsWith: .success) {
            for kind in Kind.allCases {
                try withLoop { loop in
                    let source = try kind.pair(), sink = try Descriptor.pair(), done = Inbox<Worker.Outcome>()
                    clinux_begin_faults(Self.plan(clinux_fault_rates(partial: 20_000, unready: 20_000, reset: 0, corrupt: 20_000)))
                    let raw = [source.first.release(), source.second.release(), sink.first.release(), sink.second.release()]
                    try loop.sync {
                        _ = try Worker(Descriptor(adopting: raw[0]), loop, says: Self.message, hears: 0, Inbox())
                        _ = try Mover(from: Descriptor(adopting: raw[1]), to: Descriptor(adopting: raw[2]), loop)
                        _ = try Worker(Descriptor(adopting: raw[3]), loop, says: [], hears: Self.message.count, done)
                    }
                    #expect(try done.take().heard == Self.message)
                    #expect(clinux_end_faults().spliced > 0)
                }
            }
        }
    }

    // MARK: Accepting and connecting

    private typealias Attempt = Result<Transferred<Descriptor>, IOError>

    private static func connect(_ count: Int, to endpoint: Endpoint, _ loop: EventLoop) throws -> [Attempt] {
        let attempts = Inbox<Attempt>()
        try loop.sync {
            for _ in 0..<count {
                _ = Connector(to: endpoint, loop: loop, timeout: .seconds(20)) { result in
                    switch consume result {
                    case .success(let descriptor): attempts.put(.success(Transferred(descriptor)))
                    case .failure(let error): attempts.put(.failure(error))
                    }
                }
            }
        }
        return try attempts.take(count: count)
    }

    /// The listener tries again when it was refused a descriptor, and when a connection broke it goes on with the next.
    @Test func whoWaitsIsAcceptedOrReset() async {
        await #expect(processExitsWith: .success) {
            try withDirectory { directory in
                for endpoint in [Endpoint.tcp(host: "127.0.0.1", port: 0), .unix(path: directory + "/s")] {
                    try withLoop { loop in
                        clinux_begin_faults(Self.plan(accept: 20_000))
                        let listener = try loop.sync {
                            LoopBound(try Listener(endpoint: endpoint, loop: loop) { _ = $0.write("welcome") }, loop: loop)
                        }
                        let attempts = try Self.connect(50, to: try loop.sync { listener.value.local }, loop)
                        var welcomed = 0, reset = 0
                        for attempt in attempts {
                            switch attempt {
                            case .success(let socket):
                                let (text, end) = try socket.take().readToEnd()
                                if text == "welcome", end == .endOfStream { welcomed += 1 }
                                if text == "", end == .failed(ECONNRESET) { reset += 1 }
                            case .failure(let error): if error.errno == ECONNRESET { reset += 1 }
                            }
                        }
                        #expect(welcomed > 0 && welcomed + reset == attempts.count)
                        if case .unix = endpoint { #expect(reset == 0) }
                        #expect(clinux_end_faults().accept > 0)
                        try loop.sync { listener.value.close() }
                    }
                }
            }
        }
    }

    /// An attempt that was interrupted goes on.
    @Test func onlyTCPFailsToConnect() async {
        await #expect(processExitsWith: .success) {
            try withDirectory { directory in
                let listener = try TCPListener(backlog: 100), path = directory + "/s"
                let local = try UnixListener(path: path, backlog: 100)
                let port = listener.port
                try withLoop { loop in
                    clinux_begin_faults(Self.plan(connect: 30_000))
                    let attempts = try Self.connect(100, to: .tcp(host: "127.0.0.1", port: port), loop)
                    let errors = attempts.compactMap { attempt in
                        if case .failure(let error) = attempt { error.errno } else { nil }
                    }
                    #expect(Set(errors) == [ECONNREFUSED, ETIMEDOUT])
                    let counts = clinux_end_faults()
                    #expect(errors.count < counts.connect && counts.connect < 100)
                    clinux_begin_faults(Self.plan(connect: .max))
                    for attempt in try Self.connect(50, to: .unix(path: path), loop) { _ = try attempt.get() }
                    #expect(clinux_end_faults().connect == 0)
                }
                _ = consume listener
                _ = consume local
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
