------------------------------ MODULE FastPath ------------------------------
(***************************************************************************)
(* The fast path: who has proved itself to whom, when an attacker is the   *)
(* network.  `make model-device` checks it with TLC; what it is the model  *)
(* of is puf/fast_path.py.                                                 *)
(*                                                                         *)
(* An initiator sends its nonce; the responder answers with its own and a  *)
(* tag; the initiator sends a tag.  A tag is <<role, initiator, responder, *)
(* nonce, nonce>> under the key that the two share.                        *)
(*                                                                         *)
(* The attacker E hears everything, and delivers what it likes to whom it  *)
(* likes: old messages, others' messages, its own, in any order, any number*)
(* of times, or nothing.  It shares keys of its own with both, as a visitor*)
(* and as a device.  It cannot guess keys, nonces or tags.                 *)
(*                                                                         *)
(* To make mirrors dangerous, both honest parties play both roles, and one *)
(* key serves both ways between them.  Epochs are in FastPathEpochs.tla.   *)
(***************************************************************************)
EXTENDS FiniteSets, TLC

CONSTANTS
    A, B,           \* Honest parties.
    E,              \* The attacker.
    OfA, OfB,       \* Sessions of A and of B as initiator.
    ToA, ToB,       \* Sessions of A and of B as responder.
    EvilNonce,      \* A nonce that the attacker made up.
    None

\* The checks, each with a switch, so that one sees what it is there for.
CONSTANTS
    CHECKS_OWN_2,   \* The initiator looks for its own nonce in the tag of message 2.
    CHECKS_OWN_3,   \* The responder looks for its own nonce in the tag of message 3.
    CHECKS_PEERS,   \* Both look for the other's nonce, too.
    LABELS          \* A tag says whose it is, and who is initiator and who responder.

VARIABLES
    state,          \* [session -> "fresh", "waiting" or "done"]
    peer,           \* [session -> whom its owner thinks it speaks to]
    other,          \* [session -> the nonce that its owner thinks is the peer's]
    tags            \* Every tag that an honest party ever made.

vars == <<state, peer, other, tags>>

Initiators == OfA \cup OfB
Responders == ToA \cup ToB
Sessions == Initiators \cup Responders
Parties == {A, B, E}
Owner(s) == IF s \in OfA \cup ToA THEN A ELSE B

\* A session's nonce is fresh, so it may as well be named like the session.
Heard == {s \in Sessions : state[s] # "fresh"} \cup {EvilNonce}

Tag(role, i, r, ni, nr) == [role |-> role, i |-> i, r |-> r, ni |-> ni, nr |-> nr]

\* E can make any tag under the keys that it shares with the others.
CanForge(tag) == E \in {tag.i, tag.r}

\* A party that expects `wanted` takes `t`.
Passes(t, wanted, checksI, checksR) ==
    /\ {t.i, t.r} = {wanted.i, wanted.r}        \* Made under the same key.
    /\ LABELS => t.role = wanted.role /\ t.i = wanted.i
    /\ checksI => t.ni = wanted.ni
    /\ checksR => t.nr = wanted.nr

-----------------------------------------------------------------------------
Init ==
    /\ state = [s \in Sessions |-> "fresh"]
    /\ peer = [s \in Sessions |-> None]
    /\ other = [s \in Sessions |-> None]
    /\ tags = {}

\* Message 1 goes out.
Start(s, p) ==
    /\ state[s] = "fresh"
    /\ state' = [state EXCEPT ![s] = "waiting"]
    /\ peer' = [peer EXCEPT ![s] = p]
    /\ UNCHANGED <<other, tags>>

\* Message 1 with any nonce came, under the name of a pairing with p; message 2 goes out.
Answer(s, p, nonce) ==
    /\ state[s] = "fresh"
    /\ state' = [state EXCEPT ![s] = "waiting"]
    /\ peer' = [peer EXCEPT ![s] = p]
    /\ other' = [other EXCEPT ![s] = nonce]
    /\ tags' = tags \cup {Tag("responder", p, Owner(s), nonce, s)}

\* Message 2 with any nonce and any tag came; message 3 goes out.
Finish(s, nonce) ==
    /\ state[s] = "waiting"
    /\ LET wanted == Tag("responder", Owner(s), peer[s], s, nonce)
       IN  CanForge(wanted) \/ \E t \in tags : Passes(t, wanted, CHECKS_OWN_2, CHECKS_PEERS)
    /\ state' = [state EXCEPT ![s] = "done"]
    /\ other' = [other EXCEPT ![s] = nonce]
    /\ tags' = tags \cup {Tag("initiator", Owner(s), peer[s], s, nonce)}
    /\ UNCHANGED peer

\* Message 3 with any tag came.
Accept(s) ==
    /\ state[s] = "waiting"
    /\ LET wanted == Tag("initiator", peer[s], Owner(s), other[s], s)
       IN  CanForge(wanted) \/ \E t \in tags : Passes(t, wanted, CHECKS_PEERS, CHECKS_OWN_3)
    /\ state' = [state EXCEPT ![s] = "done"]
    /\ UNCHANGED <<peer, other, tags>>

Next ==
    \/ \E s \in Initiators : \E p \in Parties \ {Owner(s)} : Start(s, p)
    \/ \E s \in Responders : \E p \in Parties \ {Owner(s)}, nonce \in Heard : Answer(s, p, nonce)
    \/ \E s \in Initiators : \E nonce \in Heard \ {s} : Finish(s, nonce)
    \/ \E s \in Responders : Accept(s)

Spec == Init /\ [][Next]_vars

\* Sessions of one kind are alike.
Symmetry == Permutations(OfA) \cup Permutations(OfB) \cup Permutations(ToA) \cup Permutations(ToB)

-----------------------------------------------------------------------------
(* What must hold.  `s` and `t` are the two ends of one meeting: each is   *)
(* the other's, in opposite roles, with the same nonces, hence keys.       *)

Honest(s) == peer[s] # E
Match(s, t) == Owner(t) = peer[s] /\ peer[t] = Owner(s) /\ other[s] = t /\ other[t] = s

TypeOK ==
    /\ state \in [Sessions -> {"fresh", "waiting", "done"}]
    /\ peer \in [Sessions -> Parties \cup {None}]
    /\ other \in [Sessions -> Sessions \cup {EvilNonce, None}]

\* Who is done with an honest peer has met it, now, in these roles: and with one session of it only, for
\* a session has one `other` (injective agreement).
InitiatorAgrees ==
    \A s \in Initiators : state[s] = "done" /\ Honest(s) =>
        \E t \in Responders : state[t] # "fresh" /\ Match(s, t)

ResponderAgrees ==
    \A s \in Responders : state[s] = "done" /\ Honest(s) =>
        \E t \in Initiators : state[t] = "done" /\ Match(s, t)

\* E has the key of no meeting of honest parties (it has those that it shares), and no two meetings have one.
Secrecy == \A s \in Sessions : state[s] = "done" /\ Honest(s) => E \notin {Owner(s), peer[s]}
Key(s) == IF s \in Initiators THEN <<{Owner(s), peer[s]}, s, other[s]>> ELSE <<{Owner(s), peer[s]}, other[s], s>>
KeysDiffer ==
    \A s, t \in {u \in Sessions : state[u] = "done" /\ Honest(u)} : s # t /\ Key(s) = Key(t) => Match(s, t)
=============================================================================
