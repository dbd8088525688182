import CulvertTestSupport
import Foundation
import Glibc
import Testing

/// Brings a lab up for the tests of a suite and takes it down after the last.
struct LabTrait: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await Lab.run(function)
    }
}

/// Every test leaves the lab as it found it, and nothing but the relays' port has been tried.
struct LeavesNothing: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let lab = Lab.current
        do { try await function() } catch { Issue.record(error, "\(lab.logs)") }
        // A test that has stopped half-way may have left a host that does not answer.
        let left: [String]? = try? await lab.leftovers(after: .seconds(60))
        #expect(left == [])
        if left != [] { for host in lab.hosts { try await host.repair() } }
        let refused = try await lab.seen().refused
        #expect(refused.isEmpty, "only the relays' port is used")
        if !refused.isEmpty { try await lab.forgetRefused() }
    }
}

extension Lab {
    /// What is still left of migrations when `limit` is over; empty as soon as nothing is.
    fileprivate func leftovers(after limit: Duration) async throws -> [String] {
        let deadline = ContinuousClock.now + limit
        while true {
            let left = try await hosta.leftovers() + hostb.leftovers()
            if left.isEmpty || ContinuousClock.now > deadline { return left }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// The ends of what relays and libvirt daemons have logged.
    fileprivate var logs: String {
        hosts.flatMap { host in
            ["/relay.log", "/var/log/libvirt/libvirtd.log"].map { file in
                let text = (try? String(contentsOfFile: host.path(file), encoding: .utf8)) ?? ""
                return "\(host.name)\(file)\n" + text.split(separator: "\n").suffix(20).joined(separator: "\n")
            }
        }.joined(separator: "\n\n")
    }

    /// For a test that has tried what is refused.
    func forgetRefused() async throws {
        for host in hosts { try await host.run("nft", "flush", "set", "inet", "lab", "refused") }
    }

    static let isPossible = geteuid() == 0
}

extension Trait where Self == LabTrait {
    static var lab: Self { Self() }
}

extension Trait where Self == LeavesNothing {
    static var leavesNothing: Self { Self() }
}

/// Unmodified libvirt daemons and QEMUs. One lab for all, so one test at a time.
@Suite(
    .serialized, .enabled(if: Lab.isPossible, "the lab makes namespaces, which takes root"), .lab, .leavesNothing,
    .timeLimit(.minutes(5)))
enum LibvirtTests {}
