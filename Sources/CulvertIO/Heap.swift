import CLinux

public enum Heap {
    /// Has the C library give free memory back to the system, which by itself it does only at the heap's end. Walks the heap:
    /// not for where time matters.
    public static func trim() { clinux_trim_heap() }
}
