"""Receive mail: read a mailbox over IMAP, or accept mail over LMTP."""
