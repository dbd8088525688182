import Glibc

/// Users and groups, given as names or numbers. A lookup may ask a directory service and wait for it.
enum Accounts {
    static func userID(_ text: String, operation: String) throws(IOError) -> uid_t {
        try identifier(text, kind: "user", operation: operation) { name, buffer in
            var entry = passwd()
            var found: UnsafeMutablePointer<passwd>?
            let error = getpwnam_r(name, &entry, buffer.baseAddress!, buffer.count, &found)
            return (error, found?.pointee.pw_uid)
        }
    }

    static func groupID(_ text: String, operation: String) throws(IOError) -> gid_t {
        try identifier(text, kind: "group", operation: operation) { name, buffer in
            var entry = group()
            var found: UnsafeMutablePointer<group>?
            let error = getgrnam_r(name, &entry, buffer.baseAddress!, buffer.count, &found)
            return (error, found?.pointee.gr_gid)
        }
    }

    private static func identifier(
        _ text: String, kind: String, operation: String,
        lookUp: (String, UnsafeMutableBufferPointer<CChar>) -> (error: CInt, identifier: UInt32?)
    ) throws(IOError) -> UInt32 {
        if let number = UInt32(text) { return number }
        // A group's entry holds all its members, so no size is surely enough.
        var size = 4096
        while true {
            let (error, identifier) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: size) { lookUp(text, $0) }
            if let identifier { return identifier }
            guard error == ERANGE, size < 1 << 24 else {
                throw IOError(
                    errno: error == 0 ? EINVAL : error, operation: operation, detail: "this host has no \(kind) '\(text)'")
            }
            size *= 2
        }
    }
}
