------------------------------ MODULE LBFTLive ------------------------------
(***************************************************************************)
(* LBFT 2.0, one height: once messages arrive before timers expire, every  *)
(* honest validator decides.  LBFT.tla has the protocol, and why it is     *)
(* safe.                                                                   *)
(*                                                                         *)
(* It begins where the bad time ends: rounds 0 and 1 are over, everything  *)
(* may have got lost in them, and any P-certificates that those rounds can *)
(* have had are known to all, to some, or to Byzantine validators only.    *)
(* From round 2 timers are long enough, for they grow: none expires while  *)
(* an honest message is still to arrive.  So honest validators are in a    *)
(* round together (they follow f + 1 others into it, rule 5), and what is  *)
(* sent in a round matters in this round or, as a certificate, later.      *)
(*                                                                         *)
(* Byzantine validators do what they like, now or never: add their votes   *)
(* for one validator only, so that it has a certificate and others do not; *)
(* show an old certificate late; coordinate different values.              *)
(***************************************************************************)
EXTENDS Integers, FiniteSets

CONSTANTS
    N,              \* Validators are 0 .. N-1, because the coordinator goes around.
    Byzantine,
    MaxRound,       \* Rounds 2 .. MaxRound; f + 1 of them have an honest coordinator, and are to be enough.
    Block,          \* The proposer's block.  That it may have sealed two matters for safety only.
    Impeachment,
    None

CONSTANTS
    GROWS,          \* Rule 5: timers grow, so that from some round on they are long enough.
    VALIDATES,      \* Rule 5: who has decided answers with the certificate, and it is honoured anywhere.
    ROTATES,        \* Rule 3: each round has another coordinator.
    SHOWS,          \* Rule 3: who enters a round shows the highest certificate it knows.
    PROVES,         \* COMMIT shows the P-certificate that it rests on, so that all can commit.
    LATE_LOCKS      \* Not ours: a certificate that one is merely shown binds like that of one's own COMMIT.

VARIABLES
    round,
    old,            \* P-certificates of former rounds that exist, whoever has them: {<<round, value>>}.
    lock,           \* [honest validator -> P-certificate of its last COMMIT, or Nothing]
    prepared,       \* [honest validator -> the value it prepared in this round, or None]
    committed,      \* [honest validator -> the value it committed in this round, or None]
    decided,        \* [honest validator -> the value it decided, or None]
    offer           \* The certificate that the honest coordinator of this round shows, or None.

vars == <<round, old, lock, prepared, committed, decided, offer>>

-----------------------------------------------------------------------------
Honest == (0 .. N - 1) \ Byzantine
Values == {Block, Impeachment}
Quorum == N - (N - 1) \div 3
Nothing == <<-1, Impeachment>>      \* To show no certificate is to speak for the impeachment block.
Nobody == [i \in Honest |-> None]

Coordinator(r) == (IF ROTATES THEN r ELSE 2) % N

\* `votes` is prepared or committed.  A certificate that honest validators make by themselves, and will all
\* have; and one that exists if Byzantine validators want it to, for those that they show it to.
Signed(votes, v) == {i \in Honest : votes[i] = v}
IsSure(votes, v) == Cardinality(Signed(votes, v)) >= Quorum
IsPossible(votes, v) == Cardinality(Signed(votes, v)) + Cardinality(Byzantine) >= Quorum

Highest(certificates) == CHOOSE c \in certificates : \A d \in certificates : d[1] <= c[1]
Undecided == {i \in Honest : decided[i] = None}

-----------------------------------------------------------------------------
(* Steps of honest validators. *)

\* COORDINATE comes, and shows certificate c.
Prepare(i, c) ==
    /\ prepared[i] = None /\ lock[i][1] <= c[1]
    /\ prepared' = [prepared EXCEPT ![i] = c[2]]
    /\ UNCHANGED <<round, old, lock, committed, decided, offer>>

Commit(i, v) ==
    /\ committed[i] = None /\ round >= 2
    /\ committed' = [committed EXCEPT ![i] = v]
    /\ lock' = [lock EXCEPT ![i] = <<round, v>>]
    /\ UNCHANGED <<round, old, prepared, decided, offer>>

Decide(i, v) ==
    /\ decided' = [decided EXCEPT ![i] = v]
    /\ UNCHANGED <<round, old, lock, prepared, committed, offer>>

\* It is shown a certificate at the worst moment: after the coordinator chose another.
SeeLate(i) ==
    /\ LATE_LOCKS /\ prepared[i] = None
    /\ \E c \in old : c[1] > lock[i][1] /\ lock' = [lock EXCEPT ![i] = c]
    /\ UNCHANGED <<round, old, prepared, committed, decided, offer>>

\* Timers expire, and all who have not decided enter the next round.  ROUND shows the highest certificate that
\* one knows: that of one's lock, or any other that one was shown.  An honest coordinator waits a third of its
\* timer at most, by then has ROUND from all honest validators, and coordinates the highest.
NextRound ==
    LET next == round + 1
        exist == old \cup {<<round, v>> : v \in {w \in Values : IsPossible(prepared, w)}}
        c == Coordinator(next)
    IN  /\ Undecided # {}
        \* Timers that are too short expire in the last round that is explored, too.
        /\ round < MaxRound \/ (~GROWS /\ round = MaxRound)
        /\ round' = next
        /\ old' = exist
        /\ \E shown \in [Undecided -> {Nothing} \cup exist] :
            /\ \A i \in Undecided : shown[i] = lock[i] \/ shown[i][1] > lock[i][1]
            /\ offer' = IF c \notin Undecided THEN None
                        ELSE Highest(IF SHOWS THEN {shown[i] : i \in Undecided} ELSE {shown[c]})
            /\ lock' = IF LATE_LOCKS THEN [i \in Honest |-> IF i \in Undecided THEN shown[i] ELSE lock[i]]
                       ELSE lock
        /\ prepared' = Nobody /\ committed' = Nobody
        /\ UNCHANGED decided

-----------------------------------------------------------------------------
(* What must happen, and what may. *)

\* An honest message is on its way to i, and will arrive.
Arrives(i) ==
    /\ i \in Undecided /\ round <= MaxRound
    /\ \/ offer # None /\ Prepare(i, offer)
       \/ \E v \in Values : IsSure(prepared, v) /\ Commit(i, v)
       \/ PROVES /\ \E j \in Honest : committed[j] # None /\ Commit(i, committed[j])
       \/ \E v \in Values : IsSure(committed, v) /\ Decide(i, v)
       \/ VALIDATES /\ \E j \in Honest \ Undecided : Decide(i, decided[j])

Expires ==
    /\ GROWS => \A i \in Honest : ~ENABLED Arrives(i)
    /\ NextRound

\* What Byzantine validators make possible, for one and not for another.
May(i) ==
    /\ i \in Undecided /\ round <= MaxRound
    /\ \/ Coordinator(round) \in Byzantine /\ \E c \in {Nothing} \cup old : Prepare(i, c)
       \/ \E v \in Values : IsPossible(prepared, v) /\ Commit(i, v)
       \/ \E v \in Values : IsPossible(committed, v) /\ Decide(i, v)
       \/ SeeLate(i)

\* What rounds 0 and 1 can leave behind.  For a P-certificate of (1, Impeachment) a quorum prepared that, whom
\* round 0 did not bind; and who has decided had a quorum of COMMITs.
Init ==
    /\ round = 1
    /\ old \in {{}, {<<0, Block>>}, {<<1, Impeachment>>},
                {<<0, Block>>, <<1, Impeachment>>}, {<<0, Block>>, <<1, Block>>}}
    /\ lock \in [Honest -> {Nothing} \cup old]
    /\ <<1, Impeachment>> \in old =>
            Cardinality({i \in Honest : lock[i][1] # 0}) + Cardinality(Byzantine) >= Quorum
    /\ decided \in [Honest -> {None} \cup {c[2] : c \in {d \in old :
                       Cardinality({i \in Honest : lock[i] = d}) + Cardinality(Byzantine) >= Quorum}}]
    /\ prepared = Nobody /\ committed = Nobody
    /\ offer = None

Next == Expires \/ \E i \in Honest : Arrives(i) \/ May(i)

Fair == WF_vars(Expires) /\ \A i \in Honest : WF_vars(Arrives(i))

Spec == Init /\ [][Next]_vars /\ Fair

-----------------------------------------------------------------------------
TypeOK ==
    /\ round \in 1 .. MaxRound + 1
    /\ old \subseteq (0 .. MaxRound) \X Values
    /\ lock \in [Honest -> {Nothing} \cup ((0 .. MaxRound) \X Values)]
    /\ {prepared, committed, decided} \subseteq [Honest -> Values \cup {None}]
    /\ offer \in {None, Nothing} \cup old

Agreement == \A i, j \in Honest : decided[i] = decided[j] \/ None \in {decided[i], decided[j]}

Liveness == <>(Undecided = {})
=============================================================================
