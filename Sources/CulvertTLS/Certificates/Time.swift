import COpenSSL
import Glibc

/// Seconds since 1970, as certificates give them; nil if OpenSSL cannot make sense of it.
func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Double? {
    var parts = tm()
    guard let time, ASN1_TIME_to_tm(time, &parts) == 1 else { return nil }
    return Double(timegm(&parts))
}

/// `2026-02-28 13:04:05 UTC`
public func describeTime(_ seconds: Double) -> String {
    var time = time_t(seconds.rounded(.down))
    var parts = tm()
    gmtime_r(&time, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) UTC"
}

/// Seconds since 1970.
func now() -> Double { Double(time(nil)) }
