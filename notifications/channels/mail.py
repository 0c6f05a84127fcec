"""E-mail over the operator's SMTP server."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime

from backend.core import clock
from backend.core.notice_settings import Mail as MailSettings
from backend.core.vocabulary import NoticeChannel
from notifications.channels.channel import TIMEOUT_S, AddressDead, Message, Rejected, Target, TryLater

NO_MAILBOX = frozenset({550, 551, 553})


class Mail:
    """Messages from one sender."""

    name = NoticeChannel.EMAIL

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    def send(self, message: Message, target: Target) -> str | None:
        mail = EmailMessage()
        domain = self._settings.sender.rpartition("@")[2]
        mail["From"], mail["To"], mail["Subject"] = self._settings.sender, target.token, message.title
        mail["Date"] = format_datetime(clock.now())
        # The same for a repeat, by which mailboxes and readers know it.
        mail["Message-ID"] = f"<{message.event_id}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.body + (f"\n\n{message.link}\n" if message.link else "\n"))
        try:
            with self._connected() as server:
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            code = min(code for code, _ in error.recipients.values())
            if code in NO_MAILBOX:
                raise AddressDead("email_no_mailbox") from error
            raise TryLater("email_busy") from error
        except smtplib.SMTPResponseException as error:
            if 400 <= error.smtp_code < 500:
                raise TryLater("email_busy") from error
            raise Rejected("email_refused") from error
        except (smtplib.SMTPException, OSError) as error:
            raise TryLater("email_unanswered") from error
        return str(mail["Message-ID"])

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        context = ssl.create_default_context()
        server: smtplib.SMTP = (
            smtplib.SMTP_SSL(settings.host, settings.port, timeout=TIMEOUT_S, context=context)
            if settings.tls
            else smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_S)
        )
        try:
            if not settings.tls:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls(context=context)
            if settings.user is not None:
                # A password goes over no open line.
                if not isinstance(server.sock, ssl.SSLSocket):
                    raise smtplib.SMTPNotSupportedError("The server offers no TLS.")
                server.login(settings.user, settings.password or "")
        except BaseException:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.close()
            raise
        return server
