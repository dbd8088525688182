import Foundation
import Testing

@testable import CulvertHypervisor

@Suite(.timeLimit(.minutes(1)))
struct VirshTests {
    @Test func readsTheFiguresOfAJob() {
        let statistics = JobStatistics(
            "running (booted)\n" + FakeVirsh.job(transferred: 5_000_000, remaining: 63_165_632, pass: 2) + "errmsg: a: b\n")
        #expect(statistics.isUnderway)
        #expect(statistics.memory == .init(rate: 0, total: 68_165_632, transferred: 5_000_000, remaining: 63_165_632))
        #expect(statistics.disk == nil)
        #expect(statistics.pass == 2)
        #expect(statistics.dirtyRate == 409_600)
    }

    @Test func knowsThatThereIsNoJob() {
        #expect(!JobStatistics("Job type: 0\n\n").isUnderway)
        #expect(JobStatistics("error: nothing\n").isEmpty)
    }

    @Test(arguments: [
        ("running (booted)\n\n", "running", "booted"), ("shut off (saved)", "shut off", "saved"), ("paused", "paused", ""),
        ("Job type: 2\n\npaused (post-copy failed)\n", "paused", "post-copy failed"),
    ])
    func readsAState(text: String, state: String, reason: String) throws {
        let read = try #require(DomainState(text))
        #expect(read.state == state)
        #expect(read.reason == reason)
    }

    @Test func findsNoStateWhereThereIsNone() {
        #expect(DomainState("Job type: 2\nmemory_total: 5\n") == nil)
    }

    @Test func keepsTheWordsOfAnError() throws {
        let outcome = ChildProcess.Outcome(
            status: 1, output: "", errors: "error: failed to connect to the hypervisor\nerror: no such socket\n\n")
        let error = try #require(VirshError(outcome))
        #expect(error.description == "failed to connect to the hypervisor: no such socket")
        #expect(error.isConnectFailure)
        #expect(VirshError(ChildProcess.Outcome(status: 0, output: "", errors: "warning")) == nil)
        #expect(VirshError(.init(status: 3, output: "", errors: ""))?.description == "virsh failed with status 3 and gave no reason")
        #expect(VirshError(.init(status: nil, output: "", errors: ""))?.description == "virsh was killed")
    }

    // MARK: Processes

    @Test func keepsTheTwoOutputsApart() async throws {
        let child = try await ChildProcess.start(["sh", "-c", "echo out; echo err >&2; exit 3"], environment: [:])
        #expect(await child.wait() == .init(status: 3, output: "out\n", errors: "err\n"))
    }

    @Test func readsMoreThanAPipeHolds() async throws {
        let child = try await ChildProcess.start(["sh", "-c", "head -c 1000000 /dev/zero"], environment: [:])
        #expect(await child.wait().output.utf8.count == 1_000_000)
    }

    @Test func saysWhyAProgramCannotBeStarted() async throws {
        await #expect(throws: ChildProcess.StartError(code: ENOENT)) {
            _ = try await ChildProcess.start(["/nowhere/virsh"], environment: [:])
        }
    }

    @Test func endsWhatDoesNotAnswer() async throws {
        let virsh = try FakeVirsh(migrate: "sleep 60")
        let error = await #expect(throws: VirshError.self) {
            _ = try await Virsh(program: virsh.path).ask(["migrate"], within: .milliseconds(100))
        }
        #expect(error?.kind == .silent)
    }

    @Test func endsTheProgramWithItsTask() async throws {
        let child = try await ChildProcess.start(["sleep", "60"], environment: [:])
        let task = Task { await child.wait() }
        task.cancel()
        #expect(await task.value.status == nil)
    }
}
