--------------------------- MODULE FastPathEpochs ---------------------------
(***************************************************************************)
(* The fast path's epochs: car and lock always find each other again, and  *)
(* a key that is stolen opens nothing that was said before.                *)
(* `make model-device` checks it; the model of puf/fast_path_keys.py.      *)
(*                                                                         *)
(* That a message 2 or 3 is taken only in the session that it was made for *)
(* is what FastPath.tla shows, and is taken for granted here.  Messages may*)
(* be lost, repeated and kept back; the power of either may fail at any    *)
(* moment, and leaves what is stored: `car` and `lock`.                    *)
(***************************************************************************)
EXTENDS Integers

CONSTANTS
    MaxEpoch,       \* Epochs 0 .. MaxEpoch are explored.
    MaxSession      \* Sessions of each side that are explored.

\* The rules, each with a switch.
CONSTANTS
    LOOKS_AHEAD,    \* The lock answers to the name of the next epoch, too.
    STEPS,          \* Called by that name, it steps to that epoch before it answers.
    SAVES_FIRST,    \* The car stores the next epoch before it sends message 3.
    OVERWRITES      \* The key of an epoch is gone when the next one is stored.

VARIABLES
    car,            \* The epoch that the car has stored.
    lock,           \* The epoch that the lock has stored.
    carIn,          \* The car's session: its number while it waits, else 0.
    lockIn,         \* The lock's session: <<epoch, car's session, own number>> while it waits, else <<>>.
    carCount, lockCount,
    said,           \* Every message that was ever sent.
    met,            \* <<epoch, session, session>> of every meeting that both finished.
    stolen          \* The lowest epoch whose key was stolen; -1 when none was.

vars == <<car, lock, carIn, lockIn, carCount, lockCount, said, met, stolen>>

Init ==
    /\ car = 0 /\ lock = 0 /\ carIn = 0 /\ lockIn = <<>> /\ carCount = 0 /\ lockCount = 0
    /\ said = {} /\ met = {} /\ stolen = -1

Names == IF LOOKS_AHEAD THEN {lock, lock + 1} ELSE {lock}

Knock ==
    /\ carCount < MaxSession /\ car <= MaxEpoch
    /\ carCount' = carCount + 1 /\ carIn' = carCount'
    /\ said' = said \cup {<<1, car, carCount'>>}
    /\ UNCHANGED <<car, lock, lockIn, lockCount, met, stolen>>

Answer(m) ==
    /\ m[1] = 1 /\ m[2] \in Names /\ lockCount < MaxSession
    /\ lockCount' = lockCount + 1
    /\ lockIn' = <<m[2], m[3], lockCount'>>
    /\ lock' = IF STEPS THEN m[2] ELSE lock
    /\ said' = said \cup {<<2, m[2], m[3], lockCount'>>}
    /\ UNCHANGED <<car, carIn, carCount, met, stolen>>

\* The car has message 2 of its session.  Where it saves late, the power fails between sending and saving.
Finish(m) ==
    /\ m[1] = 2 /\ carIn # 0 /\ m[3] = carIn /\ m[2] = car
    /\ said' = said \cup {<<3, m[2], m[3], m[4]>>}
    /\ car' \in (IF SAVES_FIRST THEN {car + 1} ELSE {car, car + 1})
    /\ carIn' = 0
    /\ UNCHANGED <<lock, lockIn, carCount, lockCount, met, stolen>>

Open(m) ==
    /\ m[1] = 3 /\ lockIn = <<m[2], m[3], m[4]>>
    /\ lock' = m[2] + 1
    /\ lockIn' = <<>>
    /\ met' = met \cup {lockIn}
    /\ UNCHANGED <<car, carIn, carCount, lockCount, said, stolen>>

\* The deadline passed, or the power failed.
CarForgets == carIn # 0 /\ carIn' = 0 /\ UNCHANGED <<car, lock, lockIn, carCount, lockCount, said, met, stolen>>
LockForgets == lockIn # <<>> /\ lockIn' = <<>> /\ UNCHANGED <<car, lock, carIn, carCount, lockCount, said, met, stolen>>

\* Somebody reads one party's storage.  What honest parties do afterwards shows nothing more.
Steal ==
    /\ \E epoch \in {car, lock} : stolen' = IF OVERWRITES THEN epoch ELSE 0
    /\ UNCHANGED <<car, lock, carIn, lockIn, carCount, lockCount, said, met>>

Next ==
    /\ stolen = -1
    /\ \/ Knock \/ CarForgets \/ LockForgets \/ Steal
       \/ \E m \in said : Answer(m) \/ Finish(m) \/ Open(m)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
TypeOK == car \in 0 .. MaxEpoch + 1 /\ lock \in 0 .. MaxEpoch + 2 /\ stolen \in -1 .. MaxEpoch + 2

\* Whatever happened, the name by which the car comes next is one that the lock knows.
FindEachOther == car \in Names

\* The key of an epoch e gives those of e, e + 1, ..: never one of a meeting that both finished before.
ForwardSecrecy == stolen # -1 => \A m \in met : m[1] < stolen

\* No two meetings have one key.
EachEpochOnce == \A m, n \in met : m[1] = n[1] => m = n
=============================================================================
