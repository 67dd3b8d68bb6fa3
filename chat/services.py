"""What may be done with messages: ask a question, stop an answer, look one up."""

import unicodedata
import uuid
from functools import partial

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from chat import accounts, admission, freshness, stream, tasks
from chat.errors import (
    AskerMissingError,
    ConversationNotFoundError,
    MessageNotFoundError,
    MessageNotOverError,
    QuestionEmptyError,
    QuestionInvalidError,
    QuestionTooLongError,
)
from chat.models import Conversation, Message
from chat.payload import message_body
from core.database import outlast
from core.postgres.columns import insert
from core.states import State
from tenants.models import EndUser, Tenant
from tenants.services import get_end_user

TITLE_MAX_CHARS = 80


def ask(
    *,
    tenant: Tenant,
    question: str,
    user_id: str | None = None,
    member: User | None = None,
    conversation_id: uuid.UUID | str | None = None,
) -> Message:
    """Store the question and, after the commit, ring for a worker; the message is returned ``queued``.

    Exactly one of ``user_id`` (an end user of the tenant's own system) and ``member`` asks. A broker that is away
    loses nothing: the sweeper rings later.

    Raises:
        QuestionEmptyError, QuestionTooLongError, QuestionInvalidError: if the question cannot be asked.
        AskerMissingError: if neither or both askers are given.
        ConversationNotFoundError: if the conversation is not this asker's.
        TooBusyError: if too many questions wait already to be begun.
        DailyLimitReachedError: if today's questions of the asker or the tenant are used up.
    """
    question = _checked(question)
    if (user_id is None) == (member is None):
        raise AskerMissingError("Say who asks: user_id.")
    message_id = uuid.uuid4()
    with admission.place(tenant=tenant, message_id=message_id) as level:
        store = partial(
            _store,
            message_id,
            tenant,
            question,
            user_id=user_id,
            member=member,
            conversation_id=conversation_id,
            level=level,
        )
        return outlast(store, again=lambda: Message.objects.filter(pk=message_id).first() or store())


def _store(
    message_id: uuid.UUID,
    tenant: Tenant,
    question: str,
    *,
    user_id: str | None,
    member: User | None,
    conversation_id: uuid.UUID | str | None,
    level: int,
) -> Message:
    with transaction.atomic():
        end_user = get_end_user(tenant=tenant, external_id=user_id) if user_id is not None else None
        if conversation_id is None:
            title = question[:TITLE_MAX_CHARS]
            conversation = Conversation(tenant=tenant, end_user=end_user, member=member, title=title)
        else:
            conversation = _conversation(tenant, end_user, member, conversation_id)
        message = Message(
            id=message_id, tenant=tenant, conversation=conversation, question=question, sent_at=timezone.now()
        )
        insert(*([conversation] if conversation._state.adding else []), message)
        accounts.reserve(message, end_user)
        transaction.on_commit(partial(_ring, message, level))
    return message


def request_stop(*, message: Message) -> Message:
    """Stop answering and keep the text so far; a queued message ends at once, one that is over stays as it is."""
    now = timezone.now()
    row = Message.objects.filter(pk=message.pk)
    with transaction.atomic():
        ended = row.filter(state=State.QUEUED).update(
            state=State.DONE, finish_reason=Message.FinishReason.STOPPED, stop_requested_at=now, finished_at=now
        )
        if not ended:
            row.filter(state=State.RUNNING, stop_requested_at=None).update(stop_requested_at=now)
        message.refresh_from_db()
        if ended:
            accounts.settle(message)
    if ended:
        stream.append_end(message.pk, message.attempt, "done", message_body(message))
    return message


def rate(*, message: Message, rating: str) -> Message:
    """Note what the person thinks of the answer, "" for nothing any more; the last word counts.

    The pages that a disliked answer cites are read again soon.

    Raises:
        MessageNotOverError: if there is no answer yet, or answering failed.
    """
    rated = Message.objects.filter(pk=message.pk, state=State.DONE)
    if not rated.update(rating=rating, rated_at=timezone.now() if rating else None):
        raise MessageNotOverError("Only an answer that is complete can be rated.")
    message.refresh_from_db(fields=["rating", "rated_at"])
    if rating == Message.Rating.DOWN:
        freshness.doubt(message)
    return message


def get_message(*, tenant: Tenant, message_id: uuid.UUID | str) -> Message:
    """Return the tenant's message.

    Raises:
        MessageNotFoundError: if the tenant has no such message.
    """
    message = outlast(Message.objects.for_tenant(tenant).filter(pk=message_id).first)
    if message is None:
        raise MessageNotFoundError("There is no message with this id.")
    return message


def _checked(question: str) -> str:
    if any(unicodedata.category(char) == "Cs" for char in question) or "\x00" in question:
        raise QuestionInvalidError("The question holds characters that are not text (NUL or half a surrogate pair).")
    question = question.strip()
    if not any(unicodedata.category(char)[0] not in "CZ" for char in question):
        raise QuestionEmptyError("The question is empty.")
    if len(question) > settings.CHAT_QUESTION_MAX_CHARS:
        raise QuestionTooLongError(f"The question is longer than {settings.CHAT_QUESTION_MAX_CHARS} characters.")
    return question


def _conversation(
    tenant: Tenant, end_user: EndUser | None, member: User | None, conversation_id: uuid.UUID | str
) -> Conversation:
    mine = Conversation.objects.for_tenant(tenant).filter(end_user=end_user, member=member)
    try:
        wanted = conversation_id if isinstance(conversation_id, uuid.UUID) else uuid.UUID(conversation_id)
        conversation = mine.select_for_update(no_key=True).get(pk=wanted)  # against archiving and erasing meanwhile
    except (Conversation.DoesNotExist, ValueError) as exc:
        raise ConversationNotFoundError("There is no conversation with this id.") from exc
    if conversation.archived_at:
        conversation.archived_at = None
        conversation.save(update_fields=["archived_at"])
    return conversation


def _ring(message: Message, level: int) -> None:
    if not tasks.ring(message.pk, message.task_id, message.tenant_id, level=level):
        Message.objects.filter(pk=message.pk, state=State.QUEUED).update(sent_at=None)
