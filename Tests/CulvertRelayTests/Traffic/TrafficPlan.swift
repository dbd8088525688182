/// What one end of a stream does.
struct EndPlan {
    /// How it leaves before everything is said and heard.
    enum Quit {
        /// After so many bytes written, or read; -1 never.
        case afterWriting(Int), afterReading(Int)
    }

    /// Bytes it says.
    var says: Int
    /// Longest piece it reads or writes at once.
    var piece: Int
    /// It says nothing before the other end has said all.
    var listensFirst = false
    /// It hears nothing before it has said all.
    var talksFirst = false
    var quit: Quit?
    /// It quits with a reset where that exists (TCP), else it just closes.
    var quitsHard = false
}

/// One stream: the route it takes and what its ends do.
struct StreamPlan {
    /// Index into the routes.
    var route: Int
    /// Where in the pattern each direction begins.
    var keys: (up: UInt64, down: UInt64)
    var client: EndPlan
    var server: EndPlan

    var hasQuitter: Bool { client.quit != nil || server.quit != nil }
}

extension StreamPlan {
    /// - Parameters:
    ///   - speaksFirst: false if the route's server cannot be told which stream it has got; then the client waits until it
    ///     was accepted, and stays.
    ///   - largest: most bytes of a direction.
    static func random(route: Int, speaksFirst: Bool, largest: Int, using random: inout Randomness) -> StreamPlan {
        var plan = StreamPlan(
            route: route, keys: (random.next() >> 1, random.next() >> 1),
            client: .random(largest: largest, using: &random), server: .random(largest: largest, using: &random))
        // Pieces may be small, but not beyond patience.
        let least = max(plan.client.says, plan.server.says) / 256
        plan.client.piece = max(plan.client.piece, least)
        plan.server.piece = max(plan.server.piece, least)
        // At most one end holds back, or both would for ever.
        switch Int.random(in: 0..<6, using: &random) {
        case 0: plan.client.listensFirst = true
        case 1: plan.server.listensFirst = true
        case 2: plan.client.talksFirst = true
        case 3: plan.server.talksFirst = true
        default: break
        }
        if random.chance(30) {
            if speaksFirst && random.chance(50) {
                plan.client.quit = plan.client.randomQuit(hearing: plan.server.says, using: &random)
            } else {
                plan.server.quit = plan.server.randomQuit(hearing: plan.client.says, using: &random)
            }
        }
        return plan
    }
}

extension EndPlan {
    fileprivate static func random(largest: Int, using random: inout Randomness) -> EndPlan {
        EndPlan(
            says: random.size(upTo: largest), piece: max(1, random.size(upTo: Pattern.longestPiece)),
            quitsHard: random.chance(50))
    }

    fileprivate func randomQuit(hearing: Int, using random: inout Randomness) -> Quit {
        random.chance(50)
            ? .afterWriting(Int.random(in: 0...says, using: &random))
            : .afterReading(Int.random(in: 0...hearing, using: &random))
    }
}
