/// Names one timer of one loop. It may outlive the timer: cancelling one that ran does nothing.
public struct TimerHandle: Sendable, Hashable {
    fileprivate var slot: UInt32
    fileprivate var generation: UInt32
}

/// Timers in the order in which they are due; those due at the same moment in the order in which they were added.
///
/// A binary heap of small values beside an array of slots that hold the bodies. Each knows the other's place, so a timer
/// is cancelled in O(log n) and leaves nothing behind: most timers are limits that are never reached.
struct TimerHeap {
    private struct Entry {
        var deadline: UInt64
        var sequence: UInt64
        var slot: UInt32

        static func < (left: Entry, right: Entry) -> Bool {
            (left.deadline, left.sequence) < (right.deadline, right.sequence)
        }
    }

    private struct Slot {
        /// Counts the timers that used this slot before.
        var generation: UInt32 = 0
        /// Place in the heap while `body` is set.
        var position = 0
        var body: (() -> Void)?
    }

    private var heap: [Entry] = []
    private var slots: [Slot] = []
    private var freeSlots: [UInt32] = []
    /// Every timer added so far has a smaller number.
    private(set) var nextSequence: UInt64 = 0

    var count: Int { heap.count }

    /// When the first timer is due, in the unit of the deadlines added.
    var nextDeadline: UInt64? { heap.first?.deadline }

    mutating func add(deadline: UInt64, _ body: @escaping () -> Void) -> TimerHandle {
        let slot: UInt32
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            slot = UInt32(slots.count)
            slots.append(Slot())
        }
        slots[Int(slot)].body = body
        heap.append(Entry(deadline: deadline, sequence: nextSequence, slot: slot))
        nextSequence += 1
        siftUp(from: heap.count - 1)
        return TimerHandle(slot: slot, generation: slots[Int(slot)].generation)
    }

    /// Returns the body, so that what it holds is released after the heap has settled; nil if the timer is gone already.
    mutating func remove(_ handle: TimerHandle) -> (() -> Void)? {
        guard handle.slot < slots.count, slots[Int(handle.slot)].generation == handle.generation else { return nil }
        return removeEntry(at: slots[Int(handle.slot)].position)
    }

    /// Removes and returns the first timer that is due at `now` and was added before `sequence`.
    mutating func popDue(at now: UInt64, addedBefore sequence: UInt64) -> (() -> Void)? {
        guard let first = heap.first, first.deadline <= now, first.sequence < sequence else { return nil }
        return removeEntry(at: 0)
    }

    private mutating func removeEntry(at position: Int) -> (() -> Void)? {
        let slot = Int(heap[position].slot)
        let body = slots[slot].body
        slots[slot].body = nil
        slots[slot].generation &+= 1
        freeSlots.append(UInt32(slot))

        let last = heap.removeLast()
        if position < heap.count {
            heap[position] = last
            slots[Int(last.slot)].position = position
            siftDown(from: position)
            siftUp(from: slots[Int(last.slot)].position)
        }
        return body
    }

    private mutating func siftUp(from start: Int) {
        var position = start
        let entry = heap[position]
        while position > 0 {
            let parent = (position - 1) / 2
            guard entry < heap[parent] else { break }
            place(heap[parent], at: position)
            position = parent
        }
        place(entry, at: position)
    }

    private mutating func siftDown(from start: Int) {
        var position = start
        let entry = heap[position]
        while true {
            var child = 2 * position + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
            guard heap[child] < entry else { break }
            place(heap[child], at: position)
            position = child
        }
        place(entry, at: position)
    }

    private mutating func place(_ entry: Entry, at position: Int) {
        heap[position] = entry
        slots[Int(entry.slot)].position = position
    }
}
