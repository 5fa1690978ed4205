"""The ledger: create deliveries, hand them to senders, record the outcomes, archive and report them."""
