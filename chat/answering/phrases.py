"""The few sentences that Pasokh itself says, in the language of the question."""

from typing import Literal

Language = Literal["fa", "en"]

NOT_FOUND = {
    "en": "I could not find this in this site's content.",
    "fa": "پاسخ این پرسش را در محتوای این سایت پیدا نکردم.",
}
NEAREST_PAGES = {
    "en": "The nearest pages:",
    "fa": "نزدیک‌ترین صفحه‌ها:",
}
GREETING = {
    "en": "Hello! I answer questions from the content of {name}, and show the page each answer comes from. "
    "What would you like to know?",
    "fa": "سلام! من از روی محتوای {name} به پرسش‌ها پاسخ می‌دهم و صفحه‌ای را که پاسخ از آن آمده نشان می‌دهم. "
    "چه چیزی می‌خواهید بدانید؟",
}
THANKS = {
    "en": "You are welcome! Ask me anything else about {name}.",
    "fa": "خواهش می‌کنم! هر پرسش دیگری دربارهٔ {name} دارید بپرسید.",
}
FAREWELL = {
    "en": "Goodbye! Come back whenever you have a question about {name}.",
    "fa": "خدانگهدار! هر وقت پرسشی دربارهٔ {name} داشتید در خدمتم.",
}
WHO = {
    "en": "I am Pasokh, the assistant of {name}. I look for your answer in the content of this site and show where "
    "it comes from. Ask me, for example, how something works or where it is described.",
    "fa": "من پاسخ هستم، دستیار {name}. پاسخ شما را در محتوای همین سایت می‌جویم و نشان می‌دهم از کدام صفحه آمده است. "
    "برای نمونه بپرسید چیزی چگونه کار می‌کند یا کجا توضیح داده شده است.",
}
