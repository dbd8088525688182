import Testing

@testable import CulvertBench

@Suite struct StatisticsTests {
    @Test func theSummaryOfNothingIsNothing() {
        #expect(Summary([]) == nil)
        #expect(percentile(50, of: []) == nil)
    }

    @Test func theMedianLiesInTheMiddleWhateverTheOrder() throws {
        let odd = try #require(Summary([9, 1, 5]))
        #expect((odd.median, odd.least, odd.most) == (5, 1, 9))
        let even = try #require(Summary([4, 1, 3, 2]))
        #expect((even.median, even.least, even.most) == (2.5, 1, 4))
        let single = try #require(Summary([7]))
        #expect((single.median, single.least, single.most) == (7, 7, 7))
    }

    @Test func percentilesAreInterpolated() {
        let sorted = (0 ... 100).map(Double.init)
        #expect(percentile(0, of: sorted) == 0)
        #expect(percentile(99, of: sorted) == 99)
        #expect(percentile(100, of: sorted) == 100)
        #expect(percentile(25, of: [10, 20]) == 12.5)
    }

    @Test func roundTripsAreMicroseconds() {
        let trips = RoundTrips([0.003, 0.001, 0.002])
        #expect(trips.count == 3)
        #expect(abs(trips.median - 2000) < 1e-6)
        #expect(abs(trips.p99 - 2980) < 1e-6)
    }
}
