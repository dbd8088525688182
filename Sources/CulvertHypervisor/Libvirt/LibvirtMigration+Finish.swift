import Foundation

/// From a virsh that is done to a summary of what the daemons say.
extension LibvirtMigration {
    func finish() async -> MigrationSummary {
        guard let launched else { preconditionFailure("finished before it was launched") }
        let total = launched.duration(to: .now).inSeconds
        enter(.verifying)
        let there = await destinationAfterwards()
        let here = try? await virsh.askAll(["domstate --reason \(uuid)"])
        // The daemon that has received the guest knows all of the figures; the source forgets them with a transient guest.
        let statistics = there.statistics.isEmpty ? lastStatistics : there.statistics
        let bytes = statistics.transferred ?? 0
        return MigrationSummary(
            teller: .libvirt,
            offline: plan.offline,
            totalTime: total,
            downtime: statistics.downtime.map { Double($0) / 1000 },
            bytes: bytes,
            averageRate: Double(bytes) / max(total, 0.001),
            passes: max(statistics.pass ?? 1, 1),
            // A short one may have been between two looks.
            postcopy: postcopySeen || statistics.postcopyRequests > 0,
            sourceState: here.flatMap(DomainState.init)?.state ?? "gone",
            destinationState: there.state?.state ?? "unknown",
            sourceQuit: false)
    }

    /// virsh has said that the guest is there. Not being able to see it is worth a remark, but no failure.
    private func destinationAfterwards() async -> Job {
        do throws(VirshError) {
            let text = try await destination.askAll(
                ["domstate --reason \(uuid)", "domjobinfo --completed --rawstats \(uuid)"])
            if let state = DomainState(text) { return Job(statistics: JobStatistics(text), state: state) }
            report(.notice("virsh has succeeded, but the destination's libvirt does not show the guest; look there"))
        } catch {
            report(.notice("virsh has succeeded, but the destination's libvirt could not be asked for the guest: \(error)"))
        }
        return Job(statistics: JobStatistics(""), state: nil)
    }
}
