/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The registrar in C++14: sessions, pauses and registrations that end with their scope. nmr_registrar.h says what each
 * call does. Works with any test framework: what a test has to check is that Session::finish() returns 0.
 */
#ifndef NMR_REGISTRAR_HPP
#define NMR_REGISTRAR_HPP

#include "netioddk.h"
#include "nmr_registrar.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <list>
#include <string>

namespace nmr_registrar {

[[noreturn]] inline void stop(const char *what)
{
    std::fprintf(stderr, "nmr-registrar: %s\n", what);
    std::abort();
}

/* The IRQL of this thread, raised or lowered for a scope. */
class AtIrql {
public:
    explicit AtIrql(KIRQL level) : before_(nmr_registrar_set_irql(level)) {}
    ~AtIrql() { nmr_registrar_set_irql(before_); }
    AtIrql(const AtIrql &) = delete;
    AtIrql &operator=(const AtIrql &) = delete;

private:
    KIRQL before_;
};

/* Something that is held up: the next thread at a callback, or a cleanup. It goes on when this ends. */
class Held {
public:
    explicit Held(uint32_t number) : number_(number)
    {
        if (number == 0)
            stop("nothing can be held up: expected a session, and for a delay one of the two Complete functions");
    }
    Held(Held &&other) noexcept : number_(other.number_) { other.number_ = 0; }
    ~Held() { resume(); }
    Held(const Held &) = delete;
    Held &operator=(const Held &) = delete;

    /* Waits until a thread stands there. False if none has come after half a minute. For pauses only. */
    bool wait_until_paused() const { return nmr_registrar_wait_until_paused(number_) == 0; }
    void resume()
    {
        if (number_ != 0)
            nmr_registrar_resume(number_);
        number_ = 0;
    }

private:
    uint32_t number_;
};

enum class When { Before = 0, After = 1 };

/* One test's use of the registrar. */
class Session {
public:
    Session()
    {
        if (nmr_registrar_begin() != 0)
            stop("a session began while another one of this thread was running");
    }
    /* A session that nobody has finished must not hide what it has found. */
    ~Session()
    {
        if (!finished_ && nmr_registrar_end() != 0)
            stop("a session with violations or leaks ended without finish()");
    }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    /* Ends it: how many violations were not expected, plus what is still alive. 0 is a test that passed. */
    std::size_t finish()
    {
        if (finished_)
            return 0;
        finished_ = true;
        return nmr_registrar_end();
    }

    void set_lenient(bool lenient) { nmr_registrar_set_lenient(lenient); }
    void set_seed(uint64_t seed) { nmr_registrar_set_seed(seed); }
    uint64_t adversary() { return nmr_registrar_adversary(); }
    void set_slow_wait(uint32_t milliseconds) { nmr_registrar_set_slow_wait(milliseconds); }

    bool fail(nmr_registrar_function function, std::size_t after, NTSTATUS status)
    {
        return nmr_registrar_fail(function, after, status) == 0;
    }
    Held pause(When when, nmr_registrar_callback callback)
    {
        return Held(nmr_registrar_pause(callback, static_cast<int>(when)));
    }
    Held delay(nmr_registrar_function function, std::size_t after = 0)
    {
        return Held(nmr_registrar_delay(function, after));
    }

    std::size_t violations() const { return nmr_registrar_violations(); }
    /* Takes the oldest violation of a rule: 26 for R26. False if there is none. */
    bool expect(uint8_t rule) { return nmr_registrar_expect(rule) == 0; }
    /* What is alive, as text. */
    std::string report() const
    {
        std::string text(nmr_registrar_report(nullptr, 0) + 1, '\0');
        text.resize(nmr_registrar_report(&text[0], text.size()));
        return text;
    }

    /* Runs these functions as threads, one at a time, in the order that the seed chooses. They must not throw. */
    std::size_t run(std::initializer_list<std::function<void()>> threads)
    {
        std::list<std::function<void()>> jobs(threads);
        for (auto &job : jobs)
            nmr_registrar_thread([](void *job) { (*static_cast<std::function<void()> *>(job))(); }, &job);
        return nmr_registrar_run_threads();
    }

private:
    bool finished_ = false;
};

/* A registration of the test's own: a peer for the driver under test. It is deregistered and waited for at its end. */
template <class Characteristics, NTSTATUS NTAPI Register(const Characteristics *, PVOID, PHANDLE),
          NTSTATUS NTAPI Deregister(HANDLE), NTSTATUS NTAPI Wait(HANDLE)>
class Registration {
public:
    explicit Registration(const Characteristics &characteristics, PVOID context = nullptr)
        : status_(Register(&characteristics, context, &handle_))
    {
    }
    ~Registration() { end(); }
    Registration(const Registration &) = delete;
    Registration &operator=(const Registration &) = delete;

    /* What the registration came to. */
    NTSTATUS status() const { return status_; }
    HANDLE handle() const { return handle_; }
    /* Deregisters without waiting; the end of this object waits. */
    NTSTATUS deregister()
    {
        deregistered_ = true;
        return Deregister(handle_);
    }
    void end()
    {
        if (status_ != STATUS_SUCCESS)
            return;
        if (!deregistered_)
            deregister();
        Wait(handle_);
        status_ = STATUS_NOINTERFACE;
    }

private:
    HANDLE handle_ = nullptr;
    bool deregistered_ = false;
    NTSTATUS status_;
};

using Client = Registration<NPI_CLIENT_CHARACTERISTICS, NmrRegisterClient, NmrDeregisterClient,
                            NmrWaitForClientDeregisterComplete>;
using Provider = Registration<NPI_PROVIDER_CHARACTERISTICS, NmrRegisterProvider, NmrDeregisterProvider,
                              NmrWaitForProviderDeregisterComplete>;

} // namespace nmr_registrar

#endif
