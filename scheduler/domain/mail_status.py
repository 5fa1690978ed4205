"""Read from the exports of other mailing systems whether a person may be mailed."""

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Literal, cast

from scheduler.domain.errors import Refused
from scheduler.domain.text import folded, quoted

Status = Literal["active", "paused", "pending", "left"]
Kind = Literal["status", "wanted", "confirmed", "enabled", "refused", "note", "delivery"]
"""The subject of a column.

`status`: a status in words. `wanted`, `confirmed`, `enabled`: whether mail is wanted, the address confirmed, the entry
enabled. `refused`: whether mail is refused or does not arrive. `note`: a date or reason for that, otherwise empty.
`delivery`: how mail is delivered.
"""

# In ascending order: if a row has several columns, the last of these statuses counts.
_WEIGHT: tuple[Status, ...] = ("active", "paused", "pending", "left")

_WORDS: Mapping[Status, str] = {
    "active": """
        active, enabled, subscribed, subscriber, subscribes, confirmed, verified, valid, ok, okay, good, member,
        members,
        owner, manager, moderator, admin, administrator, current, approved, accepted, registered, joined, regular,
        premium, paid, free, comped, gifted, trial, opted in, opt in, opted-in, double opt-in, single opt-in, express,
        implied, explicit, mailable, deliverable, delivered, reachable, normal, marketing contact, email,
        each message,
        all email, single, digest, abridged, summary, checked in, attending, marketable, live, engaged, renewed,
        contactable, not blocked, not blocklisted, not unsubscribed, not bouncing, not bounced, safe,
        accepts marketing,
        abonniert, angemeldet, aktiv, aktiviert, bestätigt, eingetragen, mitglied, registriert, freigeschaltet,
        zugestellt,
        abonné, abonnée, inscrit, inscrite, actif, active, confirmé, confirmée, membre, validé, activé,
        suscrito, suscrita, activo, activa, confirmado, confirmada, inscrito, inscrita, miembro, socio, alta, de alta,
        habilitado, verificado,
        iscritto, iscritta, attivo, attiva, confermato, confermata, abilitato, membro, socio,
        ativo, ativa, assinante, membro, habilitada, assinado,
        geabonneerd, ingeschreven, aangemeld, actief, bevestigd, lid, ingeschakeld,
        prenumererar, prenumerant, aktiverad, bekräftad, medlem, anmäld,
        tilmeldt, påmeldt, bekræftet, bekreftet, abonnent, aktivní, potvrzeno, přihlášen, aktywny, aktywna, zapisany,
        potwierdzony, subskrybent, tilaaja, aktiivinen, vahvistettu, активен, активный, подписан, подтвержден""",
    "paused": """
        paused, disabled, inactive, deactivated, suspended, on hold, hold, snoozed, vacation, away, nomail, no mail,
        no email, none, no messages, by user, by moderator, disabled by user, dormant, sleeping, not active,
        not enabled,
        disabled by moderator, soft bounced, soft bounce, web only, no delivery, special notices,
        inaktiv, deaktiviert, pausiert, ruhend, inactif, inactive, désactivé, désactivée, suspendu, en pause,
        inactivo,
        inactiva, desactivado, desactivada, suspendido, pausado, inattivo, inattiva, disattivato, sospeso, in pausa,
        inativo, inativa, desativado, suspenso, inactief, uitgeschakeld, gepauzeerd, inaktiverad, pausad, vilande,
        nieaktywny, nieaktywna, wstrzymany, neaktivní, ei aktiivinen, неактивен""",
    "pending": """
        pending, unconfirmed, not confirmed, unverified, not verified, unvalidated, not yet confirmed,
        awaiting confirmation,
        awaiting approval, waiting, waiting for confirmation, invited, requested, unactivated, not activated,
        validating,
        opt in pending, opt-in pending, optin pending, pending confirmation, pending approval, pending express, new,
        pending - new, prospect, transactional, non-subscribed, nonsubscribed, non subscribed, never subscribed,
        no permission, no consent, unknown consent, not set, needs attention, incomplete, provisional, applied,
        applicant,
        unbestätigt, nicht bestätigt, nicht aktiviert, ausstehend, wartend, unbestaetigt, eingeladen, offen,
        en attente, non confirmé, non confirmée, pas confirmé, non validé, invité, à confirmer,
        pendiente, no confirmado, no confirmada, sin confirmar, invitado, por confirmar,
        in attesa, non confermato, non confermata, da confermare, invitato,
        pendente, não confirmado, não confirmada, aguardando, aguardando confirmação, por confirmar, convidado,
        in afwachting, niet bevestigd, onbevestigd, uitgenodigd, obekräftad, ej bekräftad, väntande, väntar, inbjuden,
        ikke bekræftet, ubekræftet, ikke bekreftet, niepotwierdzony, oczekujący, nepotvrzeno, odottaa,
        не подтвержден""",
    "left": """
        left, unsubscribed, unsubscribe, unsub, unsubs, cleaned, bounced, bounce, bouncing, hard bounced, hard bounce,
        hardbounce, complained, complaint, complainer, abuse, spam, marked as spam, reported spam, junk, blocklisted,
        blacklisted, block listed, blocked, banned, suppressed, removed, deleted, archived, opted out, opt out,
        optout,
        opted-out, opt-out, cancelled, canceled, invalid, undeliverable, unreachable, do not contact, do not mail,
        do not email, not subscribed, not a member, not attending, non-member, nonmember, former, former member,
        ex-member,
        expired, lapsed, resigned, terminated, churned, past due, deceased, dead, rejected, refused, denied, declined,
        forgotten, erased, by bounces, disabled by bounces, quarantined, excluded, global unsubscribe,
        non-marketing contact,
        unmailable, failed, error, terminated, withdrawn, stopped, ended, closed, gone, unengaged, past member,
        inaccessible,
        abgemeldet, ausgetragen, abbestellt, gesperrt, gelöscht, gekündigt, ausgetreten, unzustellbar, zurückgewiesen,
        widerrufen, ungültig, nicht abonniert, beschwerde, nicht angemeldet, entfernt, verstorben,
        désabonné, désabonnée, désinscrit, désinscrite, bloqué, bloquée, rebond, plainte, supprimé, supprimée,
        invalide,
        non abonné, non inscrit, résilié, refusé, liste noire, rejeté, annulé, décédé,
        baja, de baja, dado de baja, dada de baja, desuscrito, desuscrita, no suscrito, cancelado, cancelada,
        rebotado,
        rebotada, rebote, bloqueado, bloqueada, eliminado, eliminada, inválido, rechazado, queja, lista negra,
        fallecido,
        disiscritto, disiscritta, disiscrizione, non iscritto, cancellato, cancellata, annullato, bloccato, bloccata,
        rimbalzato, eliminato, rimosso, non valido, rifiutato, segnalato come spam, deceduto,
        descadastrado, descadastrada, desinscrito, não inscrito, cancelou, bloqueado, removido, excluído, rejeitado,
        retornado, anulado, devolvido, falecido, anulou a subscrição,
        afgemeld, uitgeschreven, opgezegd, geblokkeerd, verwijderd, ongeldig, geweigerd, niet ingeschreven, gebounced,
        overleden, avregistrerad, avprenumererad, avslutad, avanmäld, spärrad, blockerad, borttagen, studsade,
        studsat,
        ogiltig, utträdd, avliden, afmeldt, avmeldt, blokeret, blokkert, slettet, wypisany, wypisana, zablokowany,
        usunięty, odrzucony, odhlášen, zablokován, smazán, peruutettu, peruuttanut, poistettu, estetty,
        отписан, отписался, заблокирован, удален""",
}
# Words that mean yes or no, in any kind of column.
_YES = """
    yes, y, true, t, 1, on, x, ✓, ✔, checked, set, ja, j, wahr, oui, o, vrai, sí, si, s, verdadero, vero, sim,
    verdadeiro,    waar, sant, tak, prawda, ano, kyllä, da, да"""
_NO = """
    no, n, false, f, 0, off, never, null, nil, nan, none, n/a, na, not set, unchecked, nein, falsch, nie, non, faux,
    jamais,    falso, mai, não, nao, nunca, nee, onwaar, nej, falskt, nei, nie, fałsz, ne, ei, нет, not, not blocked"""

_BAD = re.compile(
    r"unsub|bounc|complain|spam|blacklist|blocklist|optout|optedout|suppress|desabon|desinscri|abgemeld|ausgetrag|"
    r"abbestell|disiscri|descadastr|afgemeld|uitgeschrev|avregistr|avprenum|afmeldt|avmeldt|donot(?:e?mail|contact)"
)

_BEFORE_STATUS = (
    r"(?:member(?:s|ship)?|mitglieds?|subscri(?:ption|ber)s?|e?mail(?:ing|s)?|list|contact|group|account|user|optin|"
    r"marketing|permission|consent|newsletter|global|abo(?:nnement|nnenten|nnee)?s?|delivery|current|your|inscription|"
    r"suscripcion|iscrizione|assinatura|inscricao|inschrijf|prenumerations?|campaign|confirmation|attendee|"
    r"mitgliedschaft|"
    r"de|del|dela|di|do|da|der|des|l)*"
)
_HEADINGS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (cast(Kind, kind), re.compile(pattern))
    for kind, pattern in {
        # First: the date or reason of a refusal, which is filled only if there was one.
        "note": r"(?:unsub|optout|optedout|clean|complain|abmelde|abgemeldet|hardbounce|bounce|blacklist|blocklist|"
        r"suppress|deactivat|desinscri|desabon|baja|disiscri|afmeld|uitschrijf|avregistr).*"
        r"(?:time|date|reason|source|campaign.*|title|on|at|datum|am|le|fecha|data|motivo|grund|raison)$"
        r"|^(?:deleted|left|removed|exit|ausgetreten)(?:at|on|date|am)$|^fecha(?:de)?baja$",
        "status": rf"^{_BEFORE_STATUS}(?:status|statut|statuts|stav|tila|estado|stato|статус)"
        rf"(?:{_BEFORE_STATUS.removesuffix('*')})*$|^(?:email)?(?:marketing)?consentstate$|^subscriptionstate$"
        r"|^emailmarketing(?:consent)?$|^subscribertype$|^marketingcontact$",
        "refused": r"unsub|optout|optedout|outofe?mail|blacklist|blocklist|^(?:is)?blocked$|bounced|hardbounce|"
        r"bouncing|"
        r"complain|markedasspam|spamreport|^(?:is)?cleaned$|donot(?:e?mail|contact|send)|^noe?mails?$|suppress|"
        r"e?mail(?:is)?disabled|^(?:is)?disabled$|deactivated|^(?:is)?(?:deleted|archived|banned|removed)$|excludedfrom|"
        r"isexcluded|invalide?mail|e?mail(?:is)?invalid|abgemeldet|ausgetragen|abbestellt|^gesperrt$|^geloscht$|desabonne|"
        r"desinscri|debaja|^baja$|desuscri|disiscri|^cancellat|descadastr|afgemeld|uitgeschreven|avregistr|avprenumer|"
        r"^avslutad|^afmeldt|^avmeldt|^bloque|^bloccat|^geblokkeerd|^sparrad|wypisan|^keinemails?$|widerspr",
        "confirmed": r"^(?:is|e?mail(?:is)?|address|optin|account)?(?:confirmed|verified|validated|activated)$|"
        r"^doubleoptin$|"
        r"^bestatigt$|^confirmee?$|^confirmad[oa]$|^confermat[oa]$|^bevestigd$|^bekraftad$|^bekr[ae]+ftet$",
        "enabled": r"^(?:is|account|user)?(?:active|enabled)$|^aktiv$|^actif$|^activ[oa]$|^attiv[oa]$|^ativ[oa]$|"
        r"^actief$|"
        r"^habilitad[oa]$|^activesubscriber$",
        "wanted": r"^(?:is|e?mail|newsletter|list|currently|still)*subscribed?(?:to.*)?$|"
        r"^(?:accepts?|receives?|wants?|allows?)(?:e?mail|marketing|newsletters?|mails?|updates|e?mailmarketing|"
        r"mailings?)+s?$|^(?:e?mail|marketing|newsletter|gdpr)*(?:optin|optedin|consent|permission)$|^optedinto.*$|"
        r"^(?:e?mailable|mailable|marketable)$|^abonniert$|^angemeldet$|^abonnee?$|^inscrite?$|^suscrit[oa]$|"
        r"^iscritt[oa]$|^inscrit[oa]$|^geabonneerd$|^ingeschreven$|^aangemeld$|^prenumererar$|^tilmeldt$|^pameldt$|"
        r"^einwilligung$|^consentement$|^consenso$|^consentimiento$|^toestemming$|^samtycke$",
        "delivery": r"^(?:e?mail)?(?:preference|delivery|deliverymode|settings|subscription)$|^type$|^newsletters?$",
    }.items()
)
# Columns about other channels, numbers or links, whose headings only look similar.
_OTHER = re.compile(
    r"sms|phone|whatsapp|push|telefon|telegram|postal|fax|count$|total|rate$|soft|link|url|token|hash|unsubscribes$|"
    r"(?:sub|confirm|optin|verif|activ).*(?:time|ip|date|source|campaign)$|marital|employ|visa|student|order|payment|lead"
)


def status_kind(heading: str) -> Kind | None:
    """Return the kind of a column by its heading; None if it does not affect who is mailed."""
    plain = folded(heading)
    for kind, pattern in _HEADINGS:
        if pattern.search(plain) and (kind == "note" or not _OTHER.search(plain)):
            return kind if not re.search(r"sms|phone|whatsapp|push|telefon|fax|postal", plain) else None
    return None


@lru_cache(maxsize=4096)
def read_status(kind: Kind, text: str) -> Status:
    """Return the status that a cell gives to its person.

    An empty cell means active, except in columns about consent (`wanted`, `confirmed`), where it means pending.
    Raises Refused for unknown words.
    """
    plain = folded(text)
    if not plain:
        return "pending" if kind in ("wanted", "confirmed") else "active"
    if kind != "status" and _is_nothing(text):
        return _if_no(kind)
    if kind == "note":
        return "left"
    if kind == "status":
        return _in_words(text)
    if kind == "delivery":
        return "paused" if plain in _folded(_NO) else known_status(text) or "active"
    if plain in _folded(_NO):
        return _if_no(kind)
    if plain in _folded(_YES) or any(char.isdigit() for char in text):
        return _if_yes(kind)
    return _in_words(text)


@lru_cache(maxsize=4096)
def known_status(text: str) -> Status | None:
    """Return the status that a word means; None if it means none, such as a mere yes or no."""
    try:
        return _in_words(text) if text.strip() and folded(text) not in _yes_and_no() else None
    except Refused:
        return None


def strictest(statuses: Iterable[Status]) -> Status:
    """Of what several columns say that which speaks most against mailing; active without any."""
    return max(statuses, key=_WEIGHT.index, default="active")


def _if_no(kind: Kind) -> Status:
    match kind:
        case "wanted":
            return "left"
        case "confirmed":
            return "pending"
        case "enabled":
            return "paused"
        case _:
            return "active"


def _if_yes(kind: Kind) -> Status:
    return "left" if kind in ("refused", "note") else "active"


def _is_nothing(text: str) -> bool:
    """Return whether a cell is a zero, a date of zeros or a dash."""
    return not text.strip(" 0-:.,/Tt–—")


def _in_words(text: str) -> Status:
    plain = folded(text)
    shorter = (folded(text.rpartition(":")[2]), folded(re.sub(r"\([^)]*\)|\[[^]]*\]", "", text)))
    for reading in (plain, *shorter):
        if status := _meanings().get(reading):
            return status
    if _BAD.search(plain):
        return "left"
    raise Refused(f"{quoted(text)} is not known; write active, paused, pending or left")


@cache
def _yes_and_no() -> frozenset[str]:
    words = frozenset(word for status in _WEIGHT for word in _folded(_WORDS[status]))
    return (_folded(_YES) | _folded(_NO)) - words


@cache
def _meanings() -> Mapping[str, Status]:
    meanings: dict[str, Status] = {}
    meanings.update(dict.fromkeys(_folded(_YES), "active"))
    meanings.update(dict.fromkeys(_folded(_NO), "left"))
    for status in _WEIGHT:
        meanings |= dict.fromkeys(_folded(_WORDS[status]), status)
    return meanings


@cache
def _folded(words: str) -> frozenset[str]:
    return frozenset(filter(None, (folded(word) for word in words.split(","))))
