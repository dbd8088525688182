/// One of the two QEMUs of a migration, asked in the terms of a migration. Errors tell which of the two it was.
struct MigrationEnd: Sendable {
    enum Side: String { case source, destination }

    let side: Side
    let client: QMPClient

    private struct RunState: Decodable { let status: String }
    private struct Capability: Codable {
        let capability: String
        let state: Bool
    }
    private struct MemorySize: Decodable {
        let base: UInt64
        private enum CodingKeys: String, CodingKey { case base = "base-memory" }
    }

    func fault(_ error: QMPError) -> MigrationFault { side == .source ? .source(error) : .destination(error) }

    func ask<Reply: Decodable & Sendable>(
        _ command: String, _ arguments: some Encodable & Sendable = QMPNothing(), as type: Reply.Type,
        within limit: Duration = .seconds(10)
    ) async throws(MigrationFault) -> Reply {
        do throws(QMPError) {
            return try await client.execute(command, arguments, as: type, within: limit)
        } catch {
            throw fault(error)
        }
    }

    func tell(
        _ command: String, _ arguments: some Encodable & Sendable = QMPNothing(), within limit: Duration = .seconds(10)
    ) async throws(MigrationFault) {
        _ = try await ask(command, arguments, as: QMPNothing.self, within: limit)
    }

    /// QMP's run state, for example `running`, `paused`, `inmigrate` or `postmigrate`.
    func runState(within limit: Duration = .seconds(10)) async throws(MigrationFault) -> String {
        try await ask("query-status", as: RunState.self, within: limit).status
    }

    func migrationInfo(within limit: Duration = .seconds(10)) async throws(MigrationFault) -> MigrationInfo {
        try await ask("query-migrate", as: MigrationInfo.self, within: limit)
    }

    /// The names of the migration capabilities this QEMU knows.
    func capabilities() async throws(MigrationFault) -> Set<String> {
        Set(try await ask("query-migrate-capabilities", as: [Capability].self).map(\.capability))
    }

    func set(capabilities: [String: Bool]) async throws(MigrationFault) {
        let list = capabilities.sorted { $0.key < $1.key }.map { Capability(capability: $0.key, state: $0.value) }
        try await tell("migrate-set-capabilities", ["capabilities": list])
    }

    /// Bytes of the guest's memory, without what was plugged in later.
    func baseMemory() async throws(MigrationFault) -> UInt64 {
        try await ask("query-memory-size-summary", as: MemorySize.self).base
    }

    func processorCount() async throws(MigrationFault) -> Int {
        try await ask("query-cpus-fast", as: [QMPNothing].self).count
    }

    /// For example `pc-i440fx-7.2`.
    func machineType() async throws(MigrationFault) -> String {
        let name = try await ask("qom-get", ["path": "/machine", "property": "type"], as: String.self)
        let suffix = "-machine"
        return name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name
    }
}
