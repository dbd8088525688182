/// Why nothing could be measured; prints as one sentence.
public struct BenchError: Error, Equatable, CustomStringConvertible {
    public var description: String
    init(_ description: String) { self.description = description }
}
