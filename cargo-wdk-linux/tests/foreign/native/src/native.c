#include <ntddk.h>

/* Adds up what is in a buffer, and says so. */
ULONG NativeSum(const UCHAR *bytes, SIZE_T count)
{
    ULONG sum = 0;
    for (SIZE_T i = 0; i < count; i++) {
        sum += bytes[i];
    }
    DbgPrint("native: the sum of %lu bytes is %lu\n", (ULONG)count, sum);
    return sum;
}
