/// Names one registration of one loop. Never the bare descriptor: its number is reused as soon as it is closed, and an
/// event that was fetched before would reach the wrong handler.
public struct Registration: Sendable, Hashable {
    let token: UInt64
}

/// Who handles the events of which registration.
///
/// A token is a slot's index in the low half and, in the high half, how often the slot had been given back when the token
/// was made. Tokens of the past therefore find nothing.
struct HandlerTable {
    private struct Slot {
        var generation: UInt32 = 0
        var descriptor: CInt = -1
        var handler: (any EventHandler)?
    }

    private var slots: [Slot] = []
    private var freeSlots: [UInt32] = []

    /// No registration has it: the table would need 4 billion slots.
    static let reserved = UInt64.max

    mutating func insert(_ handler: any EventHandler, descriptor: CInt) -> UInt64 {
        let index: UInt32
        if let free = freeSlots.popLast() {
            index = free
        } else {
            index = UInt32(slots.count)
            slots.append(Slot())
        }
        slots[Int(index)].descriptor = descriptor
        slots[Int(index)].handler = handler
        return UInt64(slots[Int(index)].generation) << 32 | UInt64(index)
    }

    /// Nil for a token of the past.
    func handler(_ token: UInt64) -> (any EventHandler)? {
        index(of: token).flatMap { slots[$0].handler }
    }

    /// Gives the slot back. The handler is returned so that it is released after the table has settled.
    mutating func remove(_ token: UInt64) -> (descriptor: CInt, handler: any EventHandler)? {
        guard let index = index(of: token), let handler = slots[index].handler else { return nil }
        let descriptor = slots[index].descriptor
        slots[index] = Slot(generation: slots[index].generation &+ 1)
        freeSlots.append(UInt32(index))
        return (descriptor, handler)
    }

    private func index(of token: UInt64) -> Int? {
        let index = Int(truncatingIfNeeded: token & 0xFFFF_FFFF)
        guard index < slots.count, slots[index].generation == UInt32(token >> 32) else { return nil }
        return index
    }
}
