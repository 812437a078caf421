/*
 * Control of the registrar from C and C++ tests. Link libnmr_registrar_c.a; it has the nine Nmr* functions and these.
 *
 * A test begins with nmr_registrar_begin() and ends with nmr_registrar_end(). In between, violations of the NMR contract
 * are printed to stderr and counted. Without a session a violation is printed and ends the process.
 */
#ifndef NMR_REGISTRAR_H
#define NMR_REGISTRAR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The functions that can be made to fail. The two Complete functions return nothing, so they cannot. */
enum nmr_registrar_function {
    NMR_REGISTER_CLIENT = 0,
    NMR_DEREGISTER_CLIENT = 1,
    NMR_WAIT_FOR_CLIENT_DEREGISTER_COMPLETE = 2,
    NMR_CLIENT_ATTACH_PROVIDER = 3,
    NMR_REGISTER_PROVIDER = 5,
    NMR_DEREGISTER_PROVIDER = 6,
    NMR_WAIT_FOR_PROVIDER_DEREGISTER_COMPLETE = 7
};

/* The callbacks at which a thread can be stopped. */
enum nmr_registrar_callback {
    NMR_CLIENT_ATTACH = 0,
    NMR_CLIENT_DETACH = 1,
    NMR_CLIENT_CLEANUP = 2,
    NMR_PROVIDER_ATTACH = 3,
    NMR_PROVIDER_DETACH = 4,
    NMR_PROVIDER_CLEANUP = 5
};

/* Begins a session: strict, in the fixed order (client before provider, older before newer). One at a time: waits for
 * the end of the one that another thread has begun. Returns 0, or -1 if this thread's session is still running. */
int nmr_registrar_begin(void);
/* Ends the session. Prints what is still alive, drops it, and returns the number of violations that were not expected
 * plus that of the registrations and bindings still alive: 0 is a test that passed. */
size_t nmr_registrar_end(void);

/* 1: tolerate what Windows is known to tolerate. 0: report everything, the default. */
void nmr_registrar_set_lenient(int lenient);
/* Draws the order of all that the contract leaves open from a seed. The same seed gives the same order. */
void nmr_registrar_set_seed(uint64_t seed);
/* Goes back to the fixed order. */
void nmr_registrar_clear_seed(void);
/* Reports whom a wait is waiting for when it has lasted this long, and again each time. 0: never. */
void nmr_registrar_set_slow_wait(uint32_t milliseconds);

/* The IRQL of this thread, what KeGetCurrentIrql returns in a kernel. */
uint8_t nmr_registrar_irql(void);
/* Sets the IRQL of this thread and returns what it was. */
uint8_t nmr_registrar_set_irql(uint8_t level);

/* Lets a function fail once with a status, after `after` calls that are not disturbed. Returns 0, or -1 if the function
 * or the status cannot be used, or no session is running. */
int nmr_registrar_fail(enum nmr_registrar_function function, size_t after, int32_t status);

/* Stops the next thread that comes to a callback: before it (after_return 0) or after it has returned (1). Returns a
 * number for the two functions below, or 0 if the arguments are wrong or no session is running. */
uint32_t nmr_registrar_pause(enum nmr_registrar_callback callback, int after_return);
/* Waits until a thread stands there. Returns 0, or -1 if none has come after half a minute. */
int nmr_registrar_wait_until_paused(uint32_t pause);
/* Lets it go on. */
void nmr_registrar_resume(uint32_t pause);

/* How many violations were reported and not expected yet. */
size_t nmr_registrar_violations(void);
/* Takes the oldest violation of a rule: 26 for R26. Returns 0, or -1 if there is none. */
int nmr_registrar_expect(uint8_t rule);

/* Writes what is alive as text, NUL-terminated and cut to size. Returns the length that the whole text has. */
size_t nmr_registrar_report(char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif
