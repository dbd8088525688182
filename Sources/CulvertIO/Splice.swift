import CLinux
import Glibc

/// Moves bytes from one socket to another through a pipe, so that they never enter this process.
public struct Splice: ~Copyable {
    /// Why a `move` came to its end.
    public enum Pause: Sendable, Equatable {
        /// The source has nothing more at the moment.
        case sourceIsEmpty
        /// The sink takes no more at the moment.
        case sinkIsFull
        /// As much as was asked for has been moved, and there may be more.
        case limit
        /// The source has said all it has to say, and the sink has it.
        case ended
        case sourceFailed(CInt)
        case sinkFailed(CInt)
    }

    /// Bytes a pipe holds; more needs privilege (`/proc/sys/fs/pipe-max-size`).
    private static let capacity: CInt = 1 << 20

    private let input: Descriptor
    private let output: Descriptor
    private let capacity: Int
    /// Bytes in the pipe.
    private var held = 0
    /// Bytes that the sink has taken.
    public private(set) var moved: UInt64 = 0

    public init() throws(IOError) {
        var raw: [CInt] = [-1, -1]
        let result = clinux_pipe(&raw, Self.capacity)
        guard result > 0 else { throw IOError(errno: -result, operation: "make a pipe") }
        let output = Descriptor(adopting: raw[0]), input = Descriptor(adopting: raw[1])
        guard !DescriptorReserve.includes(max(raw[0], raw[1])) else { throw IOError(errno: EMFILE, operation: "make a pipe") }
        self.output = output
        self.input = input
        capacity = Int(result)
    }

    /// Bytes taken from the source that the sink has not taken yet.
    public var waiting: Int { held }

    /// Moves bytes until one of the two sockets stops it, or `limit` bytes have gone.
    public mutating func move(from source: borrowing Descriptor, to sink: borrowing Descriptor, limit: Int) -> Pause {
        var left = limit
        while true {
            while held > 0 {
                let count = clinux_splice(output.rawValue, sink.rawValue, held, 0)
                switch -count {
                case ..<0:
                    held -= count
                    left -= count
                    moved += UInt64(count)
                case CLong(EAGAIN): return .sinkIsFull
                default: return .sinkFailed(CInt(-count))
                }
            }
            guard left > 0 else { return .limit }
            // The pipe is empty, so EAGAIN can only mean that the source is.
            let count = clinux_splice(source.rawValue, input.rawValue, min(capacity, left), 0)
            switch -count {
            case ..<0: held = count
            case 0: return .ended
            case CLong(EAGAIN): return .sourceIsEmpty
            default: return .sourceFailed(CInt(-count))
            }
        }
    }
}
