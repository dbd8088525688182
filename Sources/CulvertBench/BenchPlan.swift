import BenchSockets
import CulvertCompression
import CulvertDaemon
import struct CulvertRelay.PeerSettings
import CulvertTLS
import Foundation

/// What is to be measured, and how often.
public struct BenchPlan: Sendable {
    /// How much one run sends.
    public enum Extent: Sendable, Equatable {
        /// Of all streams together.
        case bytes(Int)
        case time(Duration)
    }

    public enum Data: Sendable, Equatable {
        case pattern(Pattern.Content)
        /// Sent over and over.
        case file(String)
    }

    /// One row of the result. Runs of all setups alternate.
    public struct Setup: Sendable, Codable, Equatable {
        public var backend: TLSBackend
        public var cipher: Cipher
        public var records: TLSRecords
        /// Whose cipher the records have, by name, as in `ipsec-mb 1.3.0`. Presumed to be the backend's until an engine or
        /// a relay has told.
        public internal(set) var sealer: String
        public var lanes: Int
        public var streams: Int
        public var compression: CompressionMode

        public init(
            backend: TLSBackend = .openssl, cipher: Cipher = .aes256, records: TLSRecords = .auto, lanes: Int = 1,
            streams: Int = 1, compression: CompressionMode = .none
        ) {
            self.backend = backend
            self.cipher = cipher
            self.records = records
            sealer = backend.name
            self.lanes = lanes
            self.streams = streams
            self.compression = compression
        }

        /// Takes over what two ends have come to.
        /// - Parameter summary: an engine's, which a relay's status repeats; see `TLSEngine.summary`.
        mutating func adopt(_ summary: String) {
            backend = summary.hasPrefix(TLSBackend.gnutls.name) ? .gnutls : .openssl
            cipher = summary.contains("AES_128") ? .aes128 : .aes256
            let faster = summary.components(separatedBy: ", records by ").dropFirst().first
            records = faster == nil ? .library : .auto
            sealer = faster ?? backend.name
        }
    }

    /// Where the bytes go.
    public enum Place: Sendable {
        /// Through two relays started for it, `program serve` each.
        case local(program: String)
        /// Through a running relay to `PEER/SERVICE`, behind which `culvert bench serve` listens.
        case peer(service: String, admin: AdminClient)
    }

    public var place: Place
    public var setups: [Setup]
    public var data = Data.pattern(.random)
    public var extent = Extent.time(.seconds(3))
    /// Of each setup.
    public var runs = 5
    /// Requests of 64 bytes for each latency.
    public var requests = 2000
    /// After which fewer will do.
    public var requestTime = Duration.seconds(5)
    /// Bytes that each of the host's own stages handles, three times.
    public var probeBytes = 512 << 20

    public init(place: Place, setups: [Setup]) {
        self.place = place
        self.setups = setups
    }

    /// Most streams that send at once.
    public static let mostStreams = BenchServer.mostConnections - BenchServer.spareConnections

    /// - Throws: if it cannot be carried out wherever it is tried; names the option of `culvert bench`.
    public func validate() throws(BenchError) {
        guard runs > 0 else { throw BenchError("--runs counts from 1") }
        guard extent != .bytes(0), extent != .time(.zero) else { throw BenchError("--bytes or --duration 0: a run of nothing measures nothing") }
        for setup in setups {
            guard 1 ... PeerSettings.mostLanes ~= setup.lanes else {
                throw BenchError("--lanes \(setup.lanes): a session has 1 to \(PeerSettings.mostLanes)")
            }
            guard 1 ... Self.mostStreams ~= setup.streams else {
                throw BenchError("--streams \(setup.streams): the far end takes 1 to \(Self.mostStreams), each with a thread")
            }
        }
    }
}

/// A cipher that two relays come to by themselves; see `Credentials`.
public enum Cipher: String, Sendable, Codable, CaseIterable {
    case aes256 = "aes-256-gcm"
    case aes128 = "aes-128-gcm"

    public var name: String { rawValue.uppercased() }
}

extension TLSRecords: Codable {}

extension TLSBackend: Codable {
    public var name: String {
        switch self {
        case .openssl: "OpenSSL"
        case .gnutls: "GnuTLS"
        }
    }
}
