-------------------------------- MODULE Edhoc --------------------------------
(***************************************************************************)
(* EDHOC, method 3: who has proved itself to whom, when an attacker is the *)
(* network.  `make model-device` checks it with TLC.  Source: RFC 9528,    *)
(* sections 3.2, 4.1 and 5, abstracted:                                    *)
(*                                                                         *)
(*   message 1   G_X                                                       *)
(*   message 2   G_Y, who the responder is, MAC_2                          *)
(*   message 3   who the initiator is, MAC_3; encrypted                    *)
(*                                                                         *)
(* A shared secret of x and y is {x, y}: who has one of the two private    *)
(* keys knows it.  MAC_2 rests on {x, y} and {x, R}, MAC_3 and the session *)
(* on {x, y}, {x, R} and {y, I}, with R and I the long-term keys.  Hashes  *)
(* of the transcript put the same names under the MACs.                    *)
(*                                                                         *)
(* The attacker E hears and delivers what it likes, has a long-term key of *)
(* its own that both take for a visitor's and for a device's, and one made *)
(* up.  In the end it steals both long-term keys.                          *)
(***************************************************************************)
EXTENDS FiniteSets, TLC

CONSTANTS
    A, B,           \* Honest parties, each named like its long-term key.
    E,              \* The attacker.
    OfA, ToA, ToB,  \* Sessions of A as initiator, of A and of B as responder; each named like its new key.
    Evil,           \* A key that the attacker made up.
    None

\* The checks, each with a switch.
CONSTANTS
    CHECKS_OWN_2,   \* The initiator's new key is under MAC_2.
    CHECKS_OWN_3,   \* The responder's new key is under MAC_3.
    PROVES_R,       \* The responder's long-term key is under MAC_2.
    PROVES_I,       \* The initiator's long-term key is under MAC_3.
    EPHEMERAL       \* The session rests on new keys, too.

VARIABLES
    state, peer, other,     \* As in FastPath.tla; `other` is the peer's new key.
    macs,                   \* Every MAC that an honest party ever made.
    stolen                  \* The long-term keys are stolen.

vars == <<state, peer, other, macs, stolen>>

Responders == ToA \cup ToB
Sessions == OfA \cup Responders
Parties == {A, B, E}
Owner(s) == IF s \in OfA \cup ToA THEN A ELSE B
Heard == {s \in Sessions : state[s] # "fresh"} \cup {Evil}

Private == {E, Evil} \cup (IF stolen THEN {A, B} ELSE {})
Knows(secret) == secret \cap Private # {}

Mac2(r, x, y) == [message |-> 2, i |-> None, r |-> r, x |-> x, y |-> y]
Mac3(i, r, x, y) == [message |-> 3, i |-> i, r |-> r, x |-> x, y |-> y]

\* E can make a MAC when it knows every secret that it rests on.
CanMake2(m) == (CHECKS_OWN_2 => Knows({m.x, m.y})) /\ (PROVES_R => Knows({m.x, m.r}))
CanMake3(m) == Knows({m.x, m.y}) /\ Knows({m.x, m.r}) /\ (PROVES_I => Knows({m.y, m.i}))

Shown2(m) == CanMake2(m) \/ \E n \in macs :
    n.message = 2 /\ n.r = m.r /\ n.y = m.y /\ (CHECKS_OWN_2 => n.x = m.x)
Shown3(m) == CanMake3(m) \/ \E n \in macs :
    n.message = 3 /\ n.i = m.i /\ n.r = m.r /\ (CHECKS_OWN_3 => n.x = m.x /\ n.y = m.y)

-----------------------------------------------------------------------------
Init ==
    /\ state = [s \in Sessions |-> "fresh"]
    /\ peer = [s \in Sessions |-> None]
    /\ other = [s \in Sessions |-> None]
    /\ macs = {} /\ stolen = FALSE

Start(s) ==
    /\ state[s] = "fresh"
    /\ state' = [state EXCEPT ![s] = "waiting"]
    /\ UNCHANGED <<peer, other, macs, stolen>>

Answer(s, x) ==
    /\ state[s] = "fresh" /\ x # s
    /\ state' = [state EXCEPT ![s] = "waiting"]
    /\ other' = [other EXCEPT ![s] = x]
    /\ macs' = macs \cup {Mac2(Owner(s), x, s)}
    /\ UNCHANGED <<peer, stolen>>

Finish(s, r, y) ==
    /\ state[s] = "waiting" /\ y # s /\ r # Owner(s)
    /\ Shown2(Mac2(r, s, y))
    /\ state' = [state EXCEPT ![s] = "done"]
    /\ peer' = [peer EXCEPT ![s] = r]
    /\ other' = [other EXCEPT ![s] = y]
    /\ macs' = macs \cup {Mac3(Owner(s), r, s, y)}
    /\ UNCHANGED stolen

Accept(s, i) ==
    /\ state[s] = "waiting" /\ i # Owner(s)
    /\ Shown3(Mac3(i, Owner(s), other[s], s))
    /\ state' = [state EXCEPT ![s] = "done"]
    /\ peer' = [peer EXCEPT ![s] = i]
    /\ UNCHANGED <<other, macs, stolen>>

Steal == stolen' = TRUE /\ UNCHANGED <<state, peer, other, macs>>

Next ==
    /\ ~stolen
    /\ \/ \E s \in OfA : Start(s)
       \/ \E s \in Responders, x \in Heard : Answer(s, x)
       \/ \E s \in OfA, r \in Parties, y \in Heard : Finish(s, r, y)
       \/ \E s \in Responders, i \in Parties : Accept(s, i)
       \/ Steal

Spec == Init /\ [][Next]_vars

Symmetry == Permutations(OfA) \cup Permutations(ToB)

-----------------------------------------------------------------------------
IsDone(s) == state[s] = "done" /\ peer[s] # E
Match(s, t) == peer[s] = Owner(t) /\ other[s] = t /\ other[t] = s

TypeOK ==
    /\ state \in [Sessions -> {"fresh", "waiting", "done"}]
    /\ peer \in [Sessions -> Parties \cup {None}]
    /\ other \in [Sessions -> Sessions \cup {Evil, None}]

\* The responder does not know yet who came; it knows when it is done, and then they agree on that, too.
InitiatorAgrees ==
    \A s \in OfA : IsDone(s) =>
        \E t \in Responders : state[t] # "fresh" /\ Match(s, t) /\ peer[t] \in {None, Owner(s)}

ResponderAgrees ==
    \A s \in Responders : IsDone(s) =>
        \E t \in OfA : state[t] = "done" /\ Match(s, t) /\ peer[t] = Owner(s)

\* What the long-term keys add: {x, R} for both, or {y, I}; one of them unknown is enough.
LongTerm(s) == IF s \in OfA THEN {s, peer[s]} ELSE {other[s], Owner(s)}

\* Nobody else has the keys of a meeting of honest parties, not even with their long-term keys, later.
Secrecy ==
    \A s \in Sessions : IsDone(s) => ~((EPHEMERAL => Knows({s, other[s]})) /\ Knows(LongTerm(s)))

\* Who comes is seen by the peer that it took for the right one, and by nobody else, whatever E does.
InitiatorHidden ==
    \A s \in OfA : IsDone(s) => ~((EPHEMERAL => Knows({s, other[s]})) /\ Knows({s, peer[s]}))
=============================================================================
