import CulvertIO
import CulvertProtocol

/// A lane as its session holds it: the socket with its TLS, and what the protocol core knows of it.
final class LaneLink {
    private(set) var lane: any Lane
    let half: SessionLane
    /// What made it, and makes another if it is lost; nil if the peer dialled.
    let dialler: Dialler?
    let made: UInt64
    private var busy: UInt64 = 0

    init(_ lane: DirectLane, _ half: SessionLane, dialler: Dialler?, made: UInt64) {
        self.lane = lane
        self.half = half
        self.dialler = dialler
        self.made = made
    }

    /// Nanoseconds since the last call in which bytes were on their way.
    func busySinceLastLook() -> UInt64 {
        let before = busy
        busy = lane.linkBusy
        return busy - min(before, busy)
    }

    /// Has another loop do the lane's work. Not from within the lane's `receive` or `flush`.
    func offload(to loop: EventLoop, owner: any LaneOwner) {
        if let direct = lane as? DirectLane { lane = OffloadedLane(direct, to: loop, owner: owner) }
    }
}
