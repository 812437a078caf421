/*
 * Control of the registrar from C and C++ tests. Link libnmr_registrar_c.a; it has the nine Nmr* functions and these.
 *
 * A test begins with nmr_registrar_begin() and ends with nmr_registrar_end(). In between, violations of the rules in
 * docs/nmr-rules.md are printed to stderr and counted. Without a session a violation is printed and ends the process.
 */
#ifndef NMR_REGISTRAR_H
#define NMR_REGISTRAR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The functions. All but the two Complete functions, which return nothing, can be made to fail; those can be late. */
enum nmr_registrar_function {
    NMR_REGISTER_CLIENT = 0,
    NMR_DEREGISTER_CLIENT = 1,
    NMR_WAIT_FOR_CLIENT_DEREGISTER_COMPLETE = 2,
    NMR_CLIENT_ATTACH_PROVIDER = 3,
    NMR_CLIENT_DETACH_PROVIDER_COMPLETE = 4,
    NMR_REGISTER_PROVIDER = 5,
    NMR_DEREGISTER_PROVIDER = 6,
    NMR_WAIT_FOR_PROVIDER_DEREGISTER_COMPLETE = 7,
    NMR_PROVIDER_DETACH_CLIENT_COMPLETE = 8
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
/* Draws the order of all that NMR leaves open from a seed. The same seed gives the same order. A session that
 * ends with violations or leaks prints its seed. */
void nmr_registrar_set_seed(uint64_t seed);
/* The same with a new seed, or with that of the environment variable NMR_REGISTRAR_SEED. Returns it; 0 without a
 * session. */
uint64_t nmr_registrar_adversary(void);
/* Goes back to the fixed order. */
void nmr_registrar_clear_seed(void);
/* Reports whom a wait is waiting for when it has lasted this long, and again each time. 0: never. */
void nmr_registrar_set_slow_wait(uint32_t milliseconds);
/* How many such reports there were in this session. */
size_t nmr_registrar_slow_waits(void);

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
/* Lets it go on, or releases the cleanup that nmr_registrar_delay has put off. */
void nmr_registrar_resume(uint32_t number);

/* Puts off the cleanup callbacks that would run inside one of the two Complete functions, after `after` that run in
 * time, until nmr_registrar_resume, which runs them. Returns a number for that, or 0 if the function is another one or
 * no session is running. */
uint32_t nmr_registrar_delay(enum nmr_registrar_function function, size_t after);

/* Adds a thread that nmr_registrar_run_threads is to run. Returns 0, or -1 if `run` is NULL or no session is
 * running. */
int nmr_registrar_thread(void (*run)(void *argument), void *argument);
/* Runs the threads to their end, one at a time: at every call of an Nmr* function, at every callback boundary and in
 * every wait the seed chooses which one goes on, so that the seed repeats all of it. They must not wait for each other
 * in a way that the registrar does not see: in a loop around nmr_registrar_give_way they may. Returns how many such
 * choices there were. */
size_t nmr_registrar_run_threads(void);
/* Lets another thread go on: of nmr_registrar_run_threads, if the calling one belongs to it, else of the system. */
void nmr_registrar_give_way(void);

/* Calls between modules pass by NMR. A test that wants R29, R43, R44 and R50 checked tells of them, best in the
 * dispatch functions of its own modules. `from_client`: 1 for a call of the client into the provider, 0 for the other
 * direction.
 *
 * A call begins. Returns 0, or -1 if it is not allowed; then the violation has been reported. */
int nmr_registrar_call_begins(void *binding, int from_client);
/* It returns. After STATUS_PENDING it is in progress until nmr_registrar_call_completes. -1: there is no such call. */
int nmr_registrar_call_returns(void *binding, int from_client, int32_t status);
/* A pended call is complete; before the caller is told. -1: there is no such call. */
int nmr_registrar_call_completes(void *binding, int from_client);

/* Gives a name to the image whose code lies there, for reports. Returns 0, or -1 without a name or session. */
int nmr_registrar_name_image(const char *name, const void *base, size_t size);
/* Says that this image is unloaded: what it leaves behind is a violation of R65, and none of its callbacks is called
 * any more. Returns how many registrations it left. */
size_t nmr_registrar_unload_image(const void *base, size_t size);

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
