/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The guard alone, so that ThreadSanitizer sees every access: calls that race with the end of their binding. What they
 * use is ordinary memory, which whoever ends the detach takes away. crates/sluice-npi/tests/c_client.rs runs this.
 */
#include <ntifs.h>

#include "../guard.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define THREADS 3
#define ROUNDS 500

/* ThreadSanitizer would take the look at a volatile word before its exchange for an access like any other. */
void __tsan_volatile_read4(void *Address);
void __tsan_volatile_read4(void *Address)
{
    (void)Address;
}

typedef struct _BINDING {
    GUARD Guard;
    /* Not atomic: the guard alone keeps the calls and the end of the binding apart. */
    int IsThere;
    int Ended;
    long Calls;
} BINDING;

static BINDING Binding;
static pthread_barrier_t Barrier;

/* Whoever is told to complete the detach does this, once. */
static void End(BINDING *Binding_)
{
    assert(Binding_->IsThere);
    Binding_->IsThere = FALSE;
    Binding_->Ended++;
}

static void *Call(void *Context)
{
    int round;

    (void)Context;
    for (round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&Barrier);
        while (GuardEnter(&Binding.Guard)) {
            assert(Binding.IsThere);
            if (GuardLeave(&Binding.Guard)) {
                End(&Binding);
            }
        }
        pthread_barrier_wait(&Barrier);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int round, i;

    /* A guard that loses a count never lets a round end. */
    alarm(600);
    pthread_barrier_init(&Barrier, NULL, THREADS + 1);
    for (i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, Call, NULL);
    }
    for (round = 0; round < ROUNDS; round++) {
        const BINDING fresh = {.IsThere = TRUE};

        Binding = fresh;
        pthread_barrier_wait(&Barrier);
        /* Some rounds end before, some amid the calls. */
        for (i = 0; i < round % 7; i++) {
            sched_yield();
        }
        if (GuardClose(&Binding.Guard)) {
            End(&Binding);
        }
        pthread_barrier_wait(&Barrier);
        assert(Binding.Ended == 1 && !Binding.IsThere && Binding.Guard == GUARD_CLOSING);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%d rounds\n", ROUNDS);
    return 0;
}
