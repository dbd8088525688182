import CulvertProtocol
import CulvertTLS
import Logging

/// What every part of a relay works with. Immutable: a reload hands out a new one.
struct RelayEnvironment: Sendable {
    var relayName: String
    var limits: RelayLimits
    var services: ServiceTable
    var tls: TLSContext
    var memory: MemoryBudget
    var logger: Logger
}
