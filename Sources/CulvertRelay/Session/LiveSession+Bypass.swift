import CulvertIO
import CulvertProtocol

/// Bulk that passes by the session; see `OutgoingBypass` and `IncomingBypass`.
extension LiveSession {
    /// Connections past the session that this side has made at once.
    private static let mostInPreparation = 8

    /// How bulk is to be carried past the session; nil: not at all.
    var bypassMode: BypassMode? { isUsable && session.canOpen ? agreedBypass : nil }

    /// One more may be prepared. Each needs a connection, and the TLS port takes so many at once from everybody.
    var mayPrepareBypass: Bool { bypassesInPreparation < Self.mostInPreparation }

    /// What both relays have offered, if this one still does.
    var agreedBypass: BypassMode? {
        BypassMode(session.commonFeatures.intersection(peer.settings.protection.features))
    }

    /// Opens a stream for what is to be said about a bypass.
    /// - Returns: its local end.
    func openNotes() throws(IOError) -> Descriptor {
        let pair = try Descriptor.pair()
        let leg = Leg(
            session.open(service: ServiceTable.bypass, priority: .control, now: loop.now), owner: self, forward: nil)
        add(leg)
        leg.attach(pair.first)
        attend()
        return pair.second
    }

    /// The peer has opened one.
    func takeNotes(of leg: Leg) throws {
        guard BypassMode(session.commonFeatures) != nil else {
            throw ServiceRefusal(reason: ResetReason(
                .notAllowed, "nothing goes past the session here: 'peers.\(peer.name).tls' would have to say so"))
        }
        let pair = try Descriptor.pair()
        bypasses.append(try IncomingBypass(pair.second, session: self))
        leg.attach(pair.first)
    }

    func forget(_ bypass: IncomingBypass) { bypasses.removeAll { $0 === bypass } }

    /// Makes a connection to where a lane leads now.
    func dialBypass(
        token: SessionID, completion: @escaping BypassDialler.Completion
    ) throws(BypassFailure) -> BypassDialler {
        guard let lane = links.first?.lane else { throw BypassFailure("no lane is there at the moment") }
        return try BypassDialler(peer: peer, to: lane.remote, token: token, completion: completion)
    }
}
