"""Organizations and projects; roles, groups, memberships, invitations and service accounts in them."""
