import CulvertProtocol

/// One TLS connection as its session uses it, on the session's loop.
protocol Lane: AnyObject {
    var local: String { get }
    var remote: String { get }
    /// Of TLS, for people.
    var summary: String { get }
    /// The loop that encrypts, sends, receives and decrypts.
    var loopName: String { get }
    var bytesSent: UInt64 { get }
    var bytesReceived: UInt64 { get }

    /// There may be something to receive without further notice.
    var mayRead: Bool { get }
    /// Why the connection is of no use any more. Set once all that had arrived before was handed on.
    var failure: String? { get }
    /// The peer closed it on purpose.
    var wasClosed: Bool { get }
    /// Nanoseconds so far in which bytes were on their way and the receiver had room for more.
    var linkBusy: UInt64 { get }
    /// Everything that the session has said on it was taken by the kernel.
    var isFlushed: Bool { get }

    /// Hands on what has arrived, up to a few batches.
    /// - Parameter handle: takes decrypted bytes; false ends the lane's use.
    func receive(_ handle: (UnsafeRawBufferPointer) -> Bool)

    /// Fetches what the session has to say on it, as far as there is room.
    func flush(_ session: Session, _ half: SessionLane)

    /// Says goodbye as far as the socket takes it, and closes.
    func close()
}
