/// Writes frames, all integers big-endian, into memory that outlives one call.
struct FrameEncoder: ~Copyable {
    /// Holds the largest frame that is not DATA.
    private let memory = UnsafeMutableRawBufferPointer.allocate(
        byteCount: FrameHeader.size + WireLimit.controlBody, alignment: 16)
    private var end = 0

    deinit { memory.deallocate() }

    /// DATA's header, for in front of its payload.
    static func writeDataHeader(
        to memory: UnsafeMutableRawBufferPointer, stream: UInt64, offset: UInt64, count: Int, fin: Bool
    ) {
        let header = FrameHeader(.data, flags: fin ? .fin : [], length: 8 + count, stream: stream)
        header.write(to: memory)
        memory.storeBytes(of: offset.bigEndian, toByteOffset: FrameHeader.size, as: UInt64.self)
    }

    /// DATA without payload: a stream's end that follows its last byte late.
    mutating func emptyData(stream: UInt64, offset: UInt64, fin: Bool) -> UnsafeRawBufferPointer {
        Self.writeDataHeader(to: memory, stream: stream, offset: offset, count: 0, fin: fin)
        return UnsafeRawBufferPointer(rebasing: memory[..<WireLimit.dataHeader])
    }

    /// - Returns: the frame; valid until the next call.
    mutating func hello(_ hello: Hello) -> UnsafeRawBufferPointer {
        begin()
        put(Hello.magic)
        put(hello.version)
        put(hello.minimumVersion)
        put(hello.features.rawValue)
        put(hello.session.high)
        put(hello.session.low)
        put(hello.lane)
        put(hello.replaces)
        put(hello.maximumStreams)
        put(UInt32(0))
        put(hello.initialCredit)
        put(hello.secret.high)
        put(hello.secret.low)
        put(hello.name, limit: WireLimit.name)
        return finish(.hello)
    }

    mutating func attach(_ attach: Attach) -> UnsafeRawBufferPointer {
        begin()
        put(attach.token.high)
        put(attach.token.low)
        return finish(.attach)
    }

    /// Room for first bytes in an OPEN of this service.
    static func openRoom(service: String) -> Int { WireLimit.controlBody - 12 - service.utf8.count }

    /// - Parameter first: at most `openRoom(service:)` bytes.
    mutating func open(_ open: Open, first: UnsafeRawBufferPointer, fin: Bool) -> UnsafeRawBufferPointer {
        begin()
        put(open.credit)
        put(open.priority.rawValue)
        put(UInt8(0))
        put(open.service, limit: WireLimit.service)
        put(first)
        return finish(.open, flags: fin ? .fin : [], stream: open.stream)
    }

    mutating func ack(_ ack: Ack) -> UnsafeRawBufferPointer {
        begin()
        put(ack.received)
        put(ack.credit)
        var flags: FrameFlags = []
        if ack.fin { flags.insert(.fin) }
        if ack.reset { flags.insert(.reset) }
        return finish(.ack, flags: flags, stream: ack.stream)
    }

    mutating func reset(_ reset: Reset) -> UnsafeRawBufferPointer {
        begin()
        put(reset.finalOffset)
        put(reset.reason.code.rawValue)
        put(reset.reason.errno)
        put(reset.reason.text, limit: WireLimit.text)
        return finish(.reset, stream: reset.stream)
    }

    mutating func ping(_ kind: FrameKind, _ value: UInt64) -> UnsafeRawBufferPointer {
        begin()
        put(value)
        return finish(kind)
    }

    mutating func goaway(_ goaway: Goaway) -> UnsafeRawBufferPointer {
        begin()
        put(goaway.code.rawValue)
        put(goaway.lastStream)
        put(goaway.text, limit: WireLimit.text)
        return finish(.goaway)
    }

    private mutating func begin() { end = FrameHeader.size }

    private func finish(
        _ kind: FrameKind, flags: FrameFlags = [], stream: UInt64 = 0
    ) -> UnsafeRawBufferPointer {
        FrameHeader(kind, flags: flags, length: end - FrameHeader.size, stream: stream).write(to: memory)
        return UnsafeRawBufferPointer(rebasing: memory[..<end])
    }

    private mutating func put<Value: FixedWidthInteger>(_ value: Value) {
        memory.storeBytes(of: value.bigEndian, toByteOffset: end, as: Value.self)
        end += MemoryLayout<Value>.size
    }

    private mutating func put(_ bytes: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(rebasing: memory[end...]).copyMemory(from: bytes)
        end += bytes.count
    }

    /// A 16-bit count and UTF-8, cut between code points where it is too long.
    private mutating func put(_ text: String, limit: Int) {
        var text = text
        text.withUTF8 { utf8 in
            var count = min(utf8.count, limit)
            while count < utf8.count && utf8[count] & 0xC0 == 0x80 { count -= 1 }
            put(UInt16(count))
            put(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: utf8[..<count])))
        }
    }
}

extension FrameHeader {
    func write(to memory: UnsafeMutableRawBufferPointer) {
        memory.storeBytes(of: kind.rawValue, toByteOffset: 0, as: UInt8.self)
        memory.storeBytes(of: flags.rawValue, toByteOffset: 1, as: UInt8.self)
        memory.storeBytes(of: 0, toByteOffset: 2, as: UInt16.self)
        memory.storeBytes(of: length.bigEndian, toByteOffset: 4, as: UInt32.self)
        memory.storeBytes(of: stream.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
}
