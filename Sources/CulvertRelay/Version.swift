/// This version of Culvert, as `culvert --version` says it.
public let culvertVersion = "0.1.0"
