
# Instead of "Illegal instruction": the program is built for ARMv7 with VFPv3. 64-bit kernels say aarch64 or armv8l, and can run it.
look_at_processor() {
    case "$(uname -m)" in
        armv[3456]*) old="an $(uname -m) one" ;;
        armv7*)
            if grep -q '^Features' /proc/cpuinfo && ! grep '^Features' /proc/cpuinfo | grep -qE 'vfpv3|vfpv4|neon'; then
                old="without VFPv3"
            else
                return 0
            fi
            ;;
        *) return 0 ;;
    esac
    say "this machine's processor is $old (as in a Raspberry Pi 1, Zero or Zero W), and this program needs ARMv7 with VFPv3 or later (Raspberry Pi 2, 3, 4, 5, Zero 2 W). Nothing was installed."
    exit 1
}
