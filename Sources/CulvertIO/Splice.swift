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
    /// A pipe has a place for each 4 KiB, and takes no more pieces than places. Linux up to 6.4 loses what is left of a TLS
    /// record that has more pieces than the pipe has places; it has 17 at most (MAX_SKB_FRAGS).
    public static let leastCapacity: CInt = 128 << 10

    private let input: Descriptor
    private let output: Descriptor
    /// Bytes the pipe holds.
    public let capacity: Int
    /// Bytes in the pipe.
    private var held = 0
    /// Bytes that the sink has taken, and the calls in which it did.
    public private(set) var moved: UInt64 = 0
    public private(set) var calls: UInt64 = 0

    /// - Throws: EMFILE without descriptors to spare, ENOBUFS if this user's pipes have all the memory that the kernel lets
    ///   them have (`/proc/sys/fs/pipe-user-pages-soft`).
    public init() throws(IOError) {
        var raw: [CInt] = [-1, -1]
        let result = clinux_pipe(&raw, Self.capacity)
        guard result > 0 else { throw IOError(errno: -result, operation: "make a pipe") }
        let output = Descriptor(adopting: raw[0]), input = Descriptor(adopting: raw[1])
        guard !DescriptorReserve.includes(max(raw[0], raw[1])) else { throw IOError(errno: EMFILE, operation: "make a pipe") }
        guard result >= Self.leastCapacity else { throw IOError(errno: ENOBUFS, operation: "make a pipe of more than \(result) bytes") }
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
                    calls += 1
                case CLong(EAGAIN): return .sinkIsFull
                default: return .sinkFailed(CInt(-count))
                }
            }
            guard left > 0 else { return .limit }
            switch fill(from: source, limit: left) {
            case .bytes(let count): held = count
            case .endOfStream: return .ended
            case .wouldBlock: return .sourceIsEmpty
            case .failed(let errno): return .sourceFailed(errno)
            }
        }
    }

    /// Moves what there is into the pipe, which is empty: EAGAIN can only mean that the source is.
    private func fill(from source: borrowing Descriptor, limit: Int) -> Descriptor.Transfer {
        let count = clinux_splice(source.rawValue, input.rawValue, min(capacity, limit), 0)
        switch -count {
        case ..<0: return .bytes(count)
        case 0, CLong(EAGAIN):
            if clinux_is_at_mark(source.rawValue) == 1 { return pass(markOf: source) }
            return count == 0 ? .endOfStream : .wouldBlock
        default: return .failed(CInt(-count))
        }
    }

    /// The kernel splices nothing past a mark of urgent data, where reading goes on behind the urgent byte. If the source has
    /// ended behind it, that even looks like the end.
    private func pass(markOf source: borrowing Descriptor) -> Descriptor.Transfer {
        var byte: UInt8 = 0
        return withUnsafeMutableBytes(of: &byte) { byte in
            let transfer = source.read(into: byte)
            guard case .bytes(let count) = transfer else { return transfer }
            let kept = Glibc.write(input.rawValue, byte.baseAddress!, count)
            precondition(kept == count, "an empty pipe takes a byte")
            return transfer
        }
    }
}
