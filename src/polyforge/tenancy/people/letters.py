"""What people are written, pure. The secret of a link stands behind `#`, which browsers send to no server."""

from polyforge.ports.notifier import Notice


def verification(email: str, site: str, token: str) -> Notice:
    """Asks somebody to show that an address is theirs."""
    return Notice(
        email,
        "Confirm your e-mail address",
        f"Please confirm that this address is yours, within 24 hours:\n\n{site}/auth/verify#token={token}\n\n"
        "If you have no account with us, ignore this message.\n",
    )


def reset(email: str, site: str, token: str) -> Notice:
    """Lets somebody set a new password."""
    return Notice(
        email,
        "Set a new password",
        f"Set a new password here, within one hour:\n\n{site}/auth/reset#token={token}\n\n"
        "If you did not ask for this, ignore this message: your password stays as it is.\n",
    )


def invitation(email: str, site: str, token: str, organization: str, role: str) -> Notice:
    """Invites somebody to an organization."""
    return Notice(
        email,
        f"You are invited to {organization}",
        f"You are invited to {organization} with the role {role}. Accept within 7 days:\n\n"
        f"{site}/auth/invitation#token={token}\n\nIf you do not expect this, ignore this message.\n",
    )
