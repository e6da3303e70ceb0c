"""Users, groups, roles, memberships, service accounts, invitations; sessions, tokens and single sign-on."""
