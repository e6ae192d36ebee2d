"""What runs at the data owner: protocol, policy, operations, service, mailbox."""
