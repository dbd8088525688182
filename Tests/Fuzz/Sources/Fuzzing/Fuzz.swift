import Glibc

/// libFuzzer's loop; its own `main` would be a second one beside SwiftPM's.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// Here, because a C function cannot capture it. Set once, before the loop.
nonisolated(unsafe) private var findFault: ([UInt8]) -> String? = { _ in nil }

/// Tries inputs as the command line says, until one of them shows a fault.
/// - Parameter run: what is wrong with this input, nil if nothing is.
public func fuzz(_ run: @escaping ([UInt8]) -> String?) -> Never {
    findFault = run
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(runFuzzer(&count, &arguments) { bytes, count in
        if let fault = findFault(Array(UnsafeBufferPointer(start: bytes, count: count))) { fatalError(fault) }
        return 0
    })
}
