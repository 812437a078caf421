/* A driver in miniature: what the test needs to load and unload it. */
#include "netioddk.h"

NTSTATUS DriverEntry(void);
void DriverUnload(void);
/* The last call into the provider has returned: ends a detach that is pending. */
void DriverCallsDone(void);
/* Makes DriverCallsDone pass the registration handle, as a driver that shipped did. */
extern int WrongHandle;
