/// A queue on an array: appends at the end, takes from the front, both in constant time.
public struct Fifo<Element> {
    private var elements: [Element?] = []
    private var head = 0

    public init() {}

    public var isEmpty: Bool { head == elements.count }
    var count: Int { elements.count - head }
    var first: Element? { isEmpty ? nil : elements[head] }

    /// The element that `position` others are in front of.
    subscript(position: Int) -> Element {
        get { elements[head + position]! }
        set { elements[head + position] = newValue }
    }

    public mutating func append(_ element: Element) { elements.append(element) }

    public mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        defer {
            head += 1
            compact()
        }
        return elements[head].take()
    }

    mutating func removeLast() -> Element {
        defer { compact() }
        return elements.removeLast()!
    }

    mutating func removeAll(where isUnwanted: (Element) -> Bool) {
        elements.removeFirst(head)
        head = 0
        elements.removeAll { isUnwanted($0!) }
    }

    /// Drops the taken part once it outweighs the rest, so that each element is moved once on average.
    private mutating func compact() {
        if isEmpty {
            elements.removeAll(keepingCapacity: elements.capacity <= 1024)
            head = 0
        } else if head > 32, head * 2 > elements.count {
            elements.removeFirst(head)
            head = 0
        }
    }
}
