"""Greetings, thanks and farewells: answered at once, without searching the site for «سلام»."""

import re

from chat.answering import phrases
from chat.answering.phrases import Language
from knowledge.text import language_of, normalise

MODEL = "greeting"

_SAYINGS: tuple[tuple[dict[str, str], str], ...] = (
    (
        phrases.GREETING,
        """
        سلام | سلام علیکم | سلام خوبی | سلام خوبی؟ | سلام خوب هستید | سلام خوبید | سلام چطوری | سلام چطورید | درود
        | درود بر شما | سلام و درود | سلام وقت بخیر | سلام صبح بخیر | سلام شب بخیر | سلام روز بخیر | سلام عصر بخیر
        | وقت بخیر | وقت شما بخیر | صبح بخیر | ظهر بخیر | عصر بخیر | شب بخیر | روز بخیر | هلو | های | الو | چطوری | خوبی
        | چه خبر | سلام چه خبر | سلام دوست من | سلام عزیزم | با سلام | با سلام و احترام | احوال شما | حالت چطوره
        | سلام حالت چطوره | سلام من یک سوال دارم | سلام یک سوال دارم | سلام سوال داشتم | یک سوال دارم | سوال دارم
        | hello | hi | hey | hello there | hi there | hey there | good morning | good afternoon | good evening
        | good day | greetings | howdy | hiya | yo | salam | salaam | hello how are you | hi how are you
        | hey how are you
        | how are you | how are you doing | how is it going | hows it going | whats up | hello world | hello everyone
        | i have a question | hello i have a question | hi i have a question | test | testing | تست | ping
        """,
    ),
    (
        phrases.THANKS,
        """
        مرسی | ممنون | ممنونم | متشکرم | متشکر | تشکر | سپاس | سپاسگزارم | سپاس فراوان | خیلی ممنون | خیلی ممنونم
        | خیلی مرسی | با تشکر | با سپاس | دستت درد نکنه | دست شما درد نکند | دمت گرم | عالی بود | عالی | خوب بود
        | ممنون از شما | مرسی از شما | باشه ممنون | باشه مرسی | خسته نباشید
        | thanks | thank you | thank you very much | thanks a lot | many thanks | thx | ty | thank you so much
        | great thanks | ok thanks | okay thanks | ok thank you | cheers | perfect thanks | great | perfect | awesome
        | nice | cool
        """,
    ),
    (
        phrases.FAREWELL,
        """
        خداحافظ | خدا حافظ | خدانگهدار | بدرود | فعلا | بای | خدافظ | روز خوش | شب خوش
        | bye | goodbye | good bye | bye bye | see you | see you later | good night | farewell
        """,
    ),
    (
        phrases.WHO,
        """
        تو کی هستی | شما کی هستید | تو کیستی | شما که هستید | شما چه کسی هستید | تو چی هستی | اسمت چیه | نام تو چیست
        | اسم شما چیست | چه کاری می‌توانی انجام دهی | چه کاری می‌توانید انجام دهید | چه کمکی می‌توانی بکنی
        | چه کمکی می‌توانید بکنید | چه کار می‌کنی | چه کاری بلدی | کمک | راهنمایی | راهنما | چی می‌توانم بپرسم
        | چه چیزی می‌توانم بپرسم | تو ربات هستی | آیا تو ربات هستی | به من کمک می‌کنی | می‌توانی کمکم کنی
        | who are you | what are you | what is your name | whats your name | what can you do | what can you do for me
        | how can you help | how can you help me | help | help me | can you help me | what can i ask
        | what can i ask you | are you a bot | are you a robot | are you human
        """,
    ),
)
_NOISE = re.compile(r"[^\w\s]|_")
_FILLERS = ("pasokh", "پاسخ", "bot", "ربات", "دستیار", "please", "لطفا")


def _key(text: str) -> str:
    return " ".join(_NOISE.sub("", normalise(text)).split())


_REPLIES = {_key(saying): reply for reply, sayings in _SAYINGS for saying in sayings.split("|")}
_LONGEST = max(len(saying.split()) for saying in _REPLIES) + 2


def reply_to(question: str, site_name: str) -> str | None:
    """Return a short friendly reply if the message is nothing but small talk, else None."""
    said = [word for word in _key(question).split()[: _LONGEST + 1] if word not in _FILLERS]
    reply = _REPLIES.get(_unstretched(" ".join(said))) or _REPLIES.get(" ".join(said))
    if reply is None:
        return None
    language: Language = language_of(question)
    return reply[language].format(name=site_name)


def _unstretched(text: str) -> str:
    """Return «سلاممم» as «سلام», "hiii" as "hi"."""
    return re.sub(r"(.)\1{2,}", r"\1", text)
