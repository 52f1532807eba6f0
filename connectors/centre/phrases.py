"""What people write in English, and the shape of a phrasebook. Data with slots: {name} {order} {product} {days} {city} {agent}."""

from typing import NamedTuple

__all__ = ["ENGLISH", "TOPICS", "Phrasebook"]

TOPICS = ("parcel", "damaged", "wrong_item", "refund", "invoice", "password", "return", "stock", "warranty", "cancel")
"""What a contact can be about: the tags, the bot's intents and the reasons of the wrap-up."""


class Phrasebook(NamedTuple):
    """One language's templates. `ask`, `answer`, `subject` and `search` by topic, `chase` by the channel tried before; all others fit every topic."""

    ask: dict[str, tuple[str, ...]]
    answer: dict[str, tuple[str, ...]]
    subject: dict[str, str]
    search: dict[str, tuple[str, ...]]
    products: tuple[str, ...]
    cities: tuple[str, ...]
    greeting: tuple[str, ...]
    follow_up: tuple[str, ...]
    more: tuple[str, ...]
    thanks: tuple[str, ...]
    welcome: tuple[str, ...]
    auto_reply: tuple[str, ...]
    closing: tuple[str, ...]
    bot_welcome: tuple[str, ...]
    bot_answer: tuple[str, ...]
    want_human: tuple[str, ...]
    chase: dict[str, tuple[str, ...]]
    note: tuple[str, ...]
    public_post: tuple[str, ...]
    brand_reply: tuple[str, ...]
    thread_post: tuple[str, ...]
    thread_reply: tuple[str, ...]
    store_form: tuple[str, ...]
    voicemail: tuple[str, ...]
    notice: tuple[str, ...]
    survey: tuple[str, ...]


ENGLISH = Phrasebook(
    ask={
        "parcel": (
            "Where is my parcel? Order {order} was due {days} days ago and the tracking has not moved since.",
            "The tracking page for {order} still says 'in transit'. It is the {product}, and I need it before the weekend.",
            "Your driver left a card but nobody in {city} knows where order {order} is. Can you find out?",
        ),
        "damaged": (
            "The {product} arrived with a crack right across the front. Order {order}, the box was fine.",
            "I unpacked the {product} today and it does not switch on. What do I do now?",
            "One of the two {product} boxes from {order} was soaked through. I have photos if you need them.",
        ),
        "wrong_item": (
            "I ordered the {product} and got something else entirely. Order number {order}.",
            "Wrong size in order {order}. Could you send the right one before I return this one?",
            "There is somebody else's delivery note in my box, and no {product}.",
        ),
        "refund": (
            "I sent the {product} back {days} days ago and have not seen the money. Order {order}.",
            "Your mail says that {order} was refunded, my bank says it was not.",
            "You refunded only part of order {order}. What happened to the shipping costs?",
        ),
        "invoice": (
            "Could I have an invoice for {order} with our company's address on it?",
            "I was charged twice for the {product}. Please have a look at {order}.",
            "The VAT on the invoice for order {order} looks wrong to me.",
        ),
        "password": (
            "I cannot log in any more. The link to reset the password has expired three times now.",
            "My account says that it is locked, and I need the invoice for {order}.",
            "The code for signing in never arrives. Is something wrong on your side?",
        ),
        "return": (
            "I would like to return the {product}. The label in the portal does not print.",
            "How long do I have to send back {order}? I have been away for {days} days.",
            "Can I bring the {product} back to the shop in {city} instead of posting it?",
        ),
        "stock": (
            "When will the {product} be back in stock? The page has said 'soon' for {days} days.",
            "Does the shop in {city} have the {product} today?",
            "Is the grey {product} coming back, or was that a limited run?",
        ),
        "warranty": (
            "My {product} stopped working after {days} months. Is that still under warranty?",
            "I registered the {product} but the warranty page does not show it.",
            "The repair of my {product} was promised in {days} days. Any news?",
        ),
        "cancel": (
            "Please cancel order {order}, I found the {product} in town.",
            "I pressed 'buy' twice. Can you cancel one of the two {product}s?",
            "If {order} has not left your warehouse yet I would rather cancel it.",
        ),
    },
    answer={
        "parcel": (
            "I have found it, {name}: the parcel sat in the depot in {city}. It goes out again tomorrow morning.",
            "The carrier has lost the scan, not the parcel. If it is not with you in {days} days we send a new {product}.",
            "I have opened a search with the carrier for {order} and will write to you tonight.",
        ),
        "damaged": (
            "I am sorry about that. A new {product} leaves today, please keep the old one for the driver.",
            "Could you send me a photo of the damage and of the label? Then I can replace it at once.",
            "That should not happen. I have booked a collection for {order}, you need not print anything.",
        ),
        "wrong_item": (
            "That is our mistake. The right {product} is on its way, keep the other one until our driver calls.",
            "Thank you for telling us, {name}. I have sent the right size as an express parcel.",
            "Two boxes were swapped at the packing station. Yours will be with you in {days} days.",
        ),
        "refund": (
            "The refund for {order} was released today. Banks take up to {days} working days.",
            "You are right, the shipping costs were missing. I have added them just now.",
            "I can see the return in our warehouse in {city}. The money goes out tonight.",
        ),
        "invoice": (
            "The new invoice for {order} is in your account, with the address you gave us.",
            "The second charge was only reserved and falls away by itself within {days} days.",
            "I have passed this to our bookkeeping and marked it as urgent.",
        ),
        "password": (
            "I have unlocked the account. Please take the newest mail, older links stop working.",
            "There was a delay with the codes this morning. It is solved, please try once more.",
            "You can sign in again, {name}. I have also removed two old devices.",
        ),
        "return": (
            "I have sent you the label again as a picture: the shop around the corner can scan it from the screen.",
            "You have 30 days from the day of delivery, so there is time enough.",
            "Of course you can bring it to our shop in {city}. The order number is all they need.",
        ),
        "stock": (
            "We expect the {product} in {days} days. Shall I put one aside for you?",
            "Our shop in {city} has two of them today. I have kept one until this evening.",
            "The grey one does not come back, I am afraid. The blue one is the same in all else.",
        ),
        "warranty": (
            "It is covered for two years. I have sent you the form with everything filled in.",
            "The repair is done and left the workshop this morning.",
            "I have registered the {product} for you, the page shows it from tomorrow on.",
        ),
        "cancel": (
            "Order {order} is cancelled, and nothing will be charged.",
            "It has left the warehouse already. Simply refuse the parcel and we refund it.",
            "I have cancelled one of the two. The other {product} comes as planned.",
        ),
    },
    subject={
        "parcel": "Order {order}: where is it?",
        "damaged": "Damaged on arrival: {product}",
        "wrong_item": "Wrong item in order {order}",
        "refund": "Refund for {order}",
        "invoice": "Invoice for {order}",
        "password": "Cannot sign in",
        "return": "Return of {product}",
        "stock": "Is the {product} available?",
        "warranty": "Warranty for my {product}",
        "cancel": "Please cancel {order}",
    },
    search={
        "parcel": ("parcel late", "where is my order", "tracking not moving"),
        "damaged": ("broken on arrival", "{product} does not switch on", "report damage"),
        "wrong_item": ("wrong item", "exchange size", "not what i ordered"),
        "refund": ("refund how long", "where is my money", "partial refund"),
        "invoice": ("company invoice", "charged twice", "vat on invoice"),
        "password": ("reset password", "account locked", "code does not arrive"),
        "return": ("return label", "return in shop", "return deadline"),
        "stock": ("{product} in stock", "when back in stock", "shop {city} stock"),
        "warranty": ("warranty {product}", "repair status", "register product"),
        "cancel": ("cancel order", "stop shipment", "ordered twice"),
    },
    products=(
        "kettle",
        "desk lamp",
        "rain jacket",
        "coffee grinder",
        "walking boots",
        "wireless headphones",
        "stand mixer",
        "camping stove",
        "e-reader",
        "bicycle light",
        "office chair",
        "toaster",
        "wool blanket",
        "suitcase",
        "garden hose",
        "bookshelf",
        "yoga mat",
        "air purifier",
        "fitness watch",
        "espresso machine",
    ),
    cities=("Berlin", "Leeds", "Hamburg", "Bristol", "Munich", "Cardiff", "Cologne", "Boston", "Denver", "Glasgow", "Frankfurt", "Portland"),
    greeting=("Hello,", "Hi there,", "Good morning,", "Dear team,", "Hi,"),
    follow_up=(
        "Thanks, but that does not answer my question.",
        "I tried that and it still does not work.",
        "And who pays for the postage?",
        "All right. How will I know that it has happened?",
        "Could somebody please confirm this in writing?",
        "It is {days} days now. Is there any news?",
    ),
    more=(
        "Sure, the number is {order}.",
        "Yes, that is the right address.",
        "It is the {product}, the one in blue.",
        "One moment, I am looking for it.",
        "I live in {city}, if that helps.",
        "No, nobody rang the bell.",
    ),
    thanks=(
        "Thank you, that helps.",
        "Great, thanks a lot!",
        "Perfect, that was quick.",
        "Thanks {agent}, have a good day.",
        "Thank you. All solved.",
    ),
    welcome=(
        "Hello, this is {agent}. I have read what you wrote, give me a moment.",
        "Hi {name}, {agent} here. Let me look at your order.",
        "Good to have you here. May I have your order number, please?",
    ),
    auto_reply=(
        "Thank you for your message. We answer within a few hours and your number is {order}.",
        "We have received your mail. Our team is at work from 8 to 20 o'clock.",
        "This is an automatic reply: your message has arrived and somebody will read it soon.",
    ),
    closing=(
        "Is there anything else that I can do for you?",
        "Glad to help. Have a good day!",
        "I leave this open until tomorrow, just answer if something is missing.",
    ),
    bot_welcome=("Hi, I am the assistant. What can I help you with?", "Hello! Tell me in a few words what it is about."),
    bot_answer=(
        "I have found order {order}. Is it about that one?",
        "You find the return label under 'My orders'. Does that help?",
        "I have found an article on this. Shall I open it?",
        "I am not sure that I understand. Is it about an order or about your account?",
    ),
    want_human=("I want to talk to a person, please.", "That does not help. Can I have an agent?", "agent", "No. A human being please!"),
    chase={
        "email": (
            "I wrote hours ago about {order} and nobody has answered.",
            "Second attempt: I still have no answer about the {product}.",
        ),
        "phone": (
            "I tried to call, but gave up in the queue. It is about order {order}.",
            "Nobody picks up your telephone, so I am writing. It is about the {product}.",
        ),
        "webchat": (
            "I have been waiting in your chat for ages. Please write to me instead, it is about {order}.",
            "Your chat left me waiting, so here is my question again: what happens with the {product}?",
        ),
        "bot": ("Your assistant did not understand me. It is about order {order}.",),
    },
    note=(
        "Customer has called about the same order before, see history.",
        "Carrier confirms: parcel found, new delivery booked.",
        "Refund needs a second pair of eyes, amount above my limit.",
        "Warehouse asked to check the shelf.",
    ),
    public_post=(
        "Day {days} of waiting for my {product}. Is anybody there?",
        "Their shop says ask online, online says ask the shop. Brilliant.",
        "Has anyone else trouble signing in today?",
        "Lovely people in the {city} shop, found me the last {product}!",
    ),
    brand_reply=(
        "Sorry to hear that! Please send us your order number as a direct message and we look at once.",
        "That is not how it should be. We have written to you directly.",
        "Thank you, we shall tell the team in {city}!",
        "Some people cannot sign in at the moment. We are on it and tell you here when it is solved.",
    ),
    thread_post=(
        "How do I descale the {product}? The manual says nothing.",
        "Does the new {product} fit the old mount?",
        "My {product} makes a strange noise after {days} weeks. Normal?",
        "What is the quickest way to return things in {city}?",
    ),
    thread_reply=(
        "Mine does the same. A drop of oil helped.",
        "Take citric acid, half a litre, and let it stand for an hour.",
        "It fits if you turn the bracket round.",
        "We have added this to the manual, thank you for asking.",
        "The shop takes it back without a label.",
    ),
    store_form=(
        "Nobody was free at the counter. Please write to me about the {product}.",
        "I left the {product} for repair, ticket on the box. Call me when it is done.",
        "Could you order the {product} in green for me?",
    ),
    voicemail=(
        "It is about order {order}. Please call me back, I am at home until six.",
        "Hello, {name} here. The {product} has not come. Please ring me.",
    ),
    notice=("Your order {order} leaves our warehouse today.", "Your {product} arrives today.", "Order {order} is late by {days} days. We are sorry."),
    survey=("Quick and friendly.", "Took too long.", "Had to explain it three times.", "{agent} was great.", "All right in the end."),
)
