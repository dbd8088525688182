import Glibc

/// libFuzzer's loop; its own `main` would be a second one beside SwiftPM's.
@_silgen_name("LLVMFuzzerRunDriver")
func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

var count = CommandLine.argc
var arguments = CommandLine.unsafeArgv
exit(runFuzzer(&count, &arguments) { bytes, count in
    if let fault = DecoderDriver.run(Array(UnsafeBufferPointer(start: bytes, count: count))) { fatalError(fault) }
    return 0
})
