-------------------------------- MODULE LBFT --------------------------------
(***************************************************************************)
(* LBFT 2.0, one height: no two blocks become final, whatever the network  *)
(* and f Byzantine validators do.  `make model` checks it with TLC; the    *)
(* core that it is the model of is chain_node/lbft.py.                     *)
(*                                                                         *)
(* The protocol.  Round 0 is the proposer's block.  Rounds 1, 2, .. are    *)
(* impeachment rounds, where there is a second kind of value: THE          *)
(* impeachment block, which everybody computes alike.  In each round a     *)
(* validator sends at most one PREPARE, and one COMMIT once it holds a     *)
(* P-certificate: a quorum of PREPAREs for one value.  A quorum of COMMITs *)
(* of one round is a C-certificate and decides.                            *)
(*                                                                         *)
(* The adversary is as strong as it gets, which also keeps the model small *)
(*                                                                         *)
(*  - The network delays, loses, reorders and repeats: `votes` is all that *)
(*    was ever signed, and a step may rest on any part of it, at any time. *)
(*  - Clocks are arbitrary: a validator may enter any later round any time.*)
(*  - Byzantine validators have signed everything in every round, so their *)
(*    votes count wherever an honest validator likes.  They have no state. *)
(*  - The proposer seals any number of blocks, licit and not.              *)
(*  - Coordinators propose anything to anybody: even an honest one is      *)
(*    modelled so, therefore COORDINATE and ROUND need no messages here.   *)
(*  - A certificate that exists may be shown to one and hidden from others.*)
(*  - A crash loses all but what was synced with a vote: `votes`, `round`. *)
(*    What a validator merely saw is no part of the state at all.          *)
(*                                                                         *)
(* What is left out: signatures (nobody forges those of honest validators),*)
(* the bytes of blocks, other heights, liveness (see LBFTLive.tla).        *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Validators,     \* All n of them.
    Byzantine,      \* Those who do as they like; safety needs at most f = (n - 1) \div 3.
    MaxRound,       \* Rounds 0 .. MaxRound are explored.
    Licit,          \* Licit blocks that the proposer sealed for this height; two, when it cheats.
    Illicit,        \* Stands for any block that is not licit, or that the proposer did not seal.
    Impeachment,    \* The impeachment block.
    None

\* The rules, each with a switch, so that one sees what it is there for.
CONSTANTS
    ImpeachQuorum,  \* Rule 1: votes in a certificate of a round >= 1.  n - f; as published f + 1.
    DISTINCT,       \* Rule 1: a certificate counts validators, not signatures.
    LOCKS,          \* Rule 2: who committed in a round is locked on that value.
    COMPARES,       \* Rule 3: only a certificate as high as one's lock makes one prepare another value.
    ONCE,           \* Rule 4: one PREPARE in a round.
    REMEMBERS,      \* Rule 4: votes are synced before they are sent, so a restart forgets none.
    MONOTONIC,      \* Nothing is signed any more in a round that was left.
    CHECKS          \* Validators look at what they vote for.

VARIABLES
    votes,          \* {<<phase, voter, round, value>>}: all that honest validators ever signed.
    forgotten,      \* Those of them that their voters forgot.  Empty when validators remember.
    round,          \* [honest validator -> the round it is in]
    decided         \* [honest validator -> what it took for final, or None]

vars == <<votes, forgotten, round, decided>>

-----------------------------------------------------------------------------
(* Arithmetic and certificates. *)

Honest == Validators \ Byzantine
Rounds == 0 .. MaxRound
Values == Licit \cup {Illicit, Impeachment}
Phases == {"PREPARE", "COMMIT"}

FaultyMax == (Cardinality(Validators) - 1) \div 3
Quorum == Cardinality(Validators) - FaultyMax
QuorumIn(r) == IF r = 0 THEN Quorum ELSE ImpeachQuorum

Voters(phase, r, v) == Byzantine \cup {i \in Honest : <<phase, i, r, v>> \in votes}

\* There is a certificate, or those who have seen everything could put one together.
Certified(phase, r, v) ==
    LET voters == Voters(phase, r, v)
    IN  IF DISTINCT THEN Cardinality(voters) >= QuorumIn(r) ELSE voters # {}

\* What a validator knows of its own votes.
Own(i, phase, r) == {v \in Values : <<phase, i, r, v>> \in votes \ forgotten}

\* The round of its lock: of its last COMMIT, -1 when there is none.  A certificate that it was merely
\* shown does not raise it: LBFTLive.tla shows what would happen.
LockedIn(i) ==
    LET committed == {r \in Rounds : Own(i, "COMMIT", r) # {}}
    IN  IF LOCKS /\ committed # {} THEN CHOOSE r \in committed : \A s \in committed : s <= r ELSE -1

\* What passes for a block of this height.
Acceptable == IF CHECKS THEN Values \ {Illicit} ELSE Values

\* In round r >= 1 validator i may prepare v: an honest coordinator, or nobody in round 1, proposed the
\* impeachment block, or a Byzantine one any block, and i is free; or a high enough certificate was shown.
IsJustified(i, r, v) ==
    \/ LockedIn(i) = -1 /\ (v = Impeachment \/ r >= 2)
    \/ \E s \in 0 .. r : Certified("PREPARE", s, v) /\ (COMPARES => s >= LockedIn(i))

-----------------------------------------------------------------------------
(* What an honest validator does as long as it has not decided. *)

Undecided == {i \in Honest : decided[i] = None}

Sign(phase, i, r, v) == votes' = votes \cup {<<phase, i, r, v>>}

MayPrepareIn(i, r) == ONCE => Own(i, "PREPARE", r) = {}

\* Round 0: it got a sealed block.
PrepareBlock(i, v) ==
    /\ round[i] = 0 /\ MayPrepareIn(i, 0)
    /\ Sign("PREPARE", i, 0, v)
    /\ UNCHANGED <<forgotten, round, decided>>

\* Round r >= 1, entered now or before.  In round 1 to enter is to prepare.
PrepareImpeach(i, r, v) ==
    /\ r >= 1 /\ r >= round[i] /\ MayPrepareIn(i, r)
    /\ IsJustified(i, r, v)
    /\ Sign("PREPARE", i, r, v)
    /\ round' = [round EXCEPT ![i] = r]
    /\ UNCHANGED <<forgotten, decided>>

\* Its timer expired, or it follows others: it enters a round that a coordinator leads, and says so.
Enter(i, r) ==
    /\ r >= 2 /\ r > round[i]
    /\ round' = [round EXCEPT ![i] = r]
    /\ UNCHANGED <<votes, forgotten, decided>>

\* It holds a P-certificate of its round.
Commit(i, r, v) ==
    /\ r <= round[i] /\ (MONOTONIC => r = round[i])
    /\ Own(i, "COMMIT", r) = {}
    /\ Certified("PREPARE", r, v)
    /\ Sign("COMMIT", i, r, v)
    /\ UNCHANGED <<forgotten, round, decided>>

\* It holds a C-certificate of any round, in whatever state it is (VALIDATE).
Decide(i, v) ==
    /\ \E r \in Rounds : Certified("COMMIT", r, v)
    /\ decided' = [decided EXCEPT ![i] = v]
    /\ UNCHANGED <<votes, forgotten, round>>

\* It restarts.  One that remembers is where it was, so that needs no step.
Forget(i) ==
    /\ ~REMEMBERS
    /\ LET own == {vote \in votes : vote[2] = i}
       IN  own # {} /\ forgotten' = forgotten \cup own
    /\ round' = [round EXCEPT ![i] = 0]
    /\ UNCHANGED <<votes, decided>>

-----------------------------------------------------------------------------
Init ==
    /\ votes = {} /\ forgotten = {}
    /\ round = [i \in Honest |-> 0]
    /\ decided = [i \in Honest |-> None]

Vote ==
    \E i \in Undecided :
        \/ \E v \in Acceptable \ {Impeachment} : PrepareBlock(i, v)
        \/ \E r \in round[i] .. MaxRound, v \in Acceptable : PrepareImpeach(i, r, v)
        \/ \E r \in 0 .. round[i], v \in Acceptable : Commit(i, r, v)
        \/ \E r \in Rounds : Enter(i, r)
        \/ Forget(i)

Next == Vote \/ \E i \in Undecided, v \in Values : Decide(i, v)

Spec == Init /\ [][Next]_vars

\* Who decides does nothing but stop.  So what the votes of those who never stop cannot certify, nobody can
\* decide: OneDecision and Validity of this smaller model say as much as those of the whole one.
SpecOfVotes == Init /\ [][Vote]_vars

\* Keeps a counterexample to a plain story: no timer expires before all have committed the block, and only
\* validators whose timer has not expired decide the block.
IsPlain ==
    /\ round' # round => \A i \in Honest : Own(i, "COMMIT", 0) # {}
    /\ \A i \in Honest : decided'[i] \in Licit => round[i] = 0

\* Names mean nothing here, so states that differ by them only are explored once.
Symmetry == Permutations(Honest) \cup Permutations(Licit)

-----------------------------------------------------------------------------
(* What must hold. *)

TypeOK ==
    /\ votes \subseteq Phases \X Honest \X Rounds \X Values
    /\ forgotten \subseteq votes
    /\ round \in [Honest -> Rounds]
    /\ decided \in [Honest -> Values \cup {None}]

\* No two honest validators take different blocks for final.
Agreement == \A i, j \in Honest : decided[i] = decided[j] \/ None \in {decided[i], decided[j]}

\* What could be put together: {<<round, value>>}.
Certificates(phase) == {c \in Rounds \X Values : Certified(phase, c[1], c[2])}

\* Nor could anybody else: there are never C-certificates for two values, whoever collects them.
OneDecision == LET decisions == Certificates("COMMIT") IN \A c, d \in decisions : c[2] = d[2]

\* What is decided is a licit block of the proposer, or, in a round >= 1, the impeachment block.
Validity == \A c \in Certificates("COMMIT") : c[2] \in Licit \/ (c[2] = Impeachment /\ c[1] >= 1)

OnePCertificate == LET shown == Certificates("PREPARE") IN \A c, d \in shown : c[1] = d[1] => c[2] = d[2]

\* Why it is safe: after a decision in round r every later P-certificate is for the same value.
LocksHold ==
    LET shown == Certificates("PREPARE")
    IN  \A c \in Certificates("COMMIT"), d \in shown : c[1] < d[1] => c[2] = d[2]
=============================================================================
